#include "quant/choice.h"

namespace klens {

namespace {

constexpr std::string_view kFineMark = "@16";

}  // namespace

std::string format_text(const Choice& choice) {
  return choice.format +
         (choice.activation_bits == kFineActivationBits ? std::string(kFineMark) : "");
}

FormatText parse_format_text(std::string_view text) {
  FormatText found;
  if (text.size() > kFineMark.size() && text.substr(text.size() - kFineMark.size()) == kFineMark) {
    text.remove_suffix(kFineMark.size());
    found.activation_bits = kFineActivationBits;
  }
  found.format = find_format(text);
  // Without an integer path activations are FP32.
  if (found.format != nullptr && found.format->activation_group == 0 && found.activation_bits != 8)
    found.format = nullptr;
  return found;
}

std::string known_format_texts() {
  return names_of(kFormats) + "; " + std::string(kFineMark) +
         " behind one of integers: activations of 16 bits";
}

std::string text_of(const Choice& choice) {
  return format_text(choice) + " (" + choice.quantizer + ")";
}

bool rounds_activations(const Choice& choice) {
  return choice.activation_bits == Choice().activation_bits &&
         find_format(choice.format)->activation_group != 0;
}

bool knows_activation_bits(const Choice& choice) {
  return choice.activation_bits == Choice().activation_bits ||
         (choice.activation_bits == kFineActivationBits &&
          find_format(choice.format)->activation_group != 0);
}

std::string unknown_part(const Choice& choice) {
  if (find_format(choice.format) == nullptr) return not_one_of("format", choice.format, kFormats);
  if (find_row(kQuantizers, choice.quantizer) == nullptr)
    return not_one_of("quantizer", choice.quantizer, kQuantizers);
  if (!knows_activation_bits(choice))
    return "activations of " + std::to_string(choice.activation_bits) + " bits with " +
           choice.format + ": they have 8, or 16 with integers";
  return "";
}

PackedWeight quantize(const Choice& choice, const WeightView& source, const InputStats& inputs) {
  return find_row(kQuantizers, choice.quantizer)
      ->quantize(*find_format(choice.format), source, inputs);
}

}  // namespace klens
