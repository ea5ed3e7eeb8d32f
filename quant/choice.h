#pragma once
#include <compare>
#include <string>

#include "quant/quantizer.h"

namespace klens {

// What a unit may become. Names, as files say them: a file may name what this version lacks. All
// that holds or compares choices does it through this one type.
struct Choice {
  std::string format;
  std::string quantizer = kQuantizers[0].name;
  // On the integer path: of an activation. 16 are two planes of 8.
  int activation_bits = 8;
  bool operator==(const Choice&) const = default;
  std::strong_ordering operator<=>(const Choice&) const = default;
};

// What activation_bits may be, and the most.
inline constexpr int kActivationBits[] = {8, 16};
inline constexpr int kFineActivationBits = 16;

// "int4g64", or "int4g64@16" with activations of 16 bits: what lists say, and options understand.
std::string format_text(const Choice& choice);
// The format and bits that such a text names; no format where it names none.
struct FormatText {
  const Format* format = nullptr;
  int activation_bits = 8;
};
FormatText parse_format_text(std::string_view text);
// What such texts may be, for messages.
std::string known_format_texts();

// "int4g64 (rtn)": for messages.
std::string text_of(const Choice& choice);

// Whether activations lose something: they have 8 bits.
bool rounds_activations(const Choice& choice);

// Whether activations can have so many bits with that format, which is known.
bool knows_activation_bits(const Choice& choice);

// Which part of a choice is in none of the tables, as not_one_of says it; "" if all are.
std::string unknown_part(const Choice& choice);

// The weights as the choice says, every part of which is known. Threads: tbb's current arena.
PackedWeight quantize(const Choice& choice, const WeightView& source,
                      const InputStats& inputs = {});

}  // namespace klens
