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
  bool operator==(const Choice&) const = default;
  std::strong_ordering operator<=>(const Choice&) const = default;
};

// "int4g64 (rtn)": for messages.
std::string text_of(const Choice& choice);

// Which part of a choice is in none of the tables, as not_one_of says it; "" if all are.
std::string unknown_part(const Choice& choice);

// The weights as the choice says, every part of which is known. Threads: tbb's current arena.
PackedWeight quantize(const Choice& choice, const WeightView& source,
                      const InputStats& inputs = {});

}  // namespace klens
