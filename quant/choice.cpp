#include "quant/choice.h"

namespace klens {

std::string text_of(const Choice& choice) { return choice.format + " (" + choice.quantizer + ")"; }

std::string unknown_part(const Choice& choice) {
  if (find_format(choice.format) == nullptr) return not_one_of("format", choice.format, kFormats);
  if (find_row(kQuantizers, choice.quantizer) == nullptr)
    return not_one_of("quantizer", choice.quantizer, kQuantizers);
  return "";
}

PackedWeight quantize(const Choice& choice, const WeightView& source, const InputStats& inputs) {
  return find_row(kQuantizers, choice.quantizer)
      ->quantize(*find_format(choice.format), source, inputs);
}

}  // namespace klens
