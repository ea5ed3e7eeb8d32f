#pragma once
#include <nlohmann/json.hpp>

#include "loaders/config.h"
#include "loaders/json_object.h"
#include "quant/choice.h"

namespace klens {

// The keys of a Choice, which stand among others in candidates, plans and units: the one place that
// knows them.

inline constexpr const char* kFormatKey = "format";
inline constexpr const char* kQuantizerKey = "quantizer";
inline constexpr const char* kActivationBitsKey = "activation_bits";

inline void put_choice(const Choice& choice, nlohmann::ordered_json& to) {
  to[kFormatKey] = choice.format;
  to[kQuantizerKey] = choice.quantizer;
  if (choice.activation_bits != Choice().activation_bits)
    to[kActivationBitsKey] = choice.activation_bits;
}

// A choice whose format is known. A quantizer need not be: its numbers are there to be run.
inline Choice choice_from_json(const JsonObject& json) {
  Choice choice{json.text(kFormatKey)};
  choice.quantizer = json.text_or(kQuantizerKey, choice.quantizer.c_str());
  if (find_format(choice.format) == nullptr)
    json.fail(kFormatKey, "is '" + choice.format +
                              "', a format this version does not know: it knows " +
                              names_of(kFormats));
  // Of a format whose activations are exact, whoever changed it by hand may have left this.
  if (find_format(choice.format)->activation_group == 0) return choice;
  choice.activation_bits =
      static_cast<int>(json.count_or(kActivationBitsKey, choice.activation_bits));
  if (!knows_activation_bits(choice))
    json.fail(kActivationBitsKey,
              "is " + std::to_string(choice.activation_bits) + ": it is 8 or 16");
  return choice;
}

// As a unit of a model file has it, known or not; "" for a format that is absent.
inline Choice choice_from_json(const Config& unit) {
  Choice choice{unit.text({kFormatKey}, "")};
  choice.quantizer = unit.text({kQuantizerKey}, choice.quantizer);
  choice.activation_bits =
      static_cast<int>(unit.integer({kActivationBitsKey}, 1, 1024, choice.activation_bits));
  return choice;
}

}  // namespace klens
