#pragma once
#include "quant/format.h"
#include "quant/quantizers/gptq.h"
#include "quant/quantizers/hqq.h"
#include "quant/quantizers/rtn.h"
#include "quant/quantizers/search.h"
#include "quant/table.h"

namespace klens {

// A way to choose the numbers that a unit's weights become in a format.
struct Quantizer {
  const char* name;
  const char* about;  // for lists of quantizers: one line, no full stop
  // What it looks at of a unit's inputs.
  enum class Sees { kNothing, kSquares, kFactor } sees;
  // Threads: tbb's current arena.
  PackedWeight (*quantize)(const Format& format, const WeightView& source,
                           const InputStats& inputs);
};

// The first is what a file means that names none.
inline constexpr Quantizer kQuantizers[] = {
    {"rtn", "round to nearest", Quantizer::Sees::kNothing, quantize_rtn},
    {"search", "scales and minima of least weighted error", Quantizer::Sees::kSquares,
     quantize_search},
    {"gptq", "columns in turn, each making good what those before it lost",
     Quantizer::Sees::kFactor, quantize_gptq},
    {"hqq", "minima that fit most weights and leave outliers", Quantizer::Sees::kNothing,
     quantize_hqq},
};

// What units get where nobody asks for another.
inline constexpr const Quantizer& kUsualQuantizer = kQuantizers[2];

// What those that make columns' errors good do where nothing is known of inputs.
inline constexpr const Quantizer& kUnseenQuantizer = kQuantizers[1];

}  // namespace klens
