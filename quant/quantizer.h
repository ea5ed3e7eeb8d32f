#pragma once
#include <span>

#include "quant/format.h"
#include "quant/quantizers/rtn.h"
#include "quant/quantizers/search.h"
#include "quant/table.h"

namespace klens {

// A way to choose the numbers that a unit's weights become in a format.
struct Quantizer {
  const char* name;
  const char* about;  // for lists of quantizers: one line, no full stop
  bool weighted;      // looks at importance
  // importance: how much a column's error counts, [source.cols], not negative; empty: all alike.
  // Threads: tbb's current arena.
  PackedWeight (*quantize)(const Format& format, const WeightView& source,
                           std::span<const float> importance);
};

// The first is what a file means that names none.
inline constexpr Quantizer kQuantizers[] = {
    {"rtn", "round to nearest", false, quantize_rtn},
    {"search", "scales and minima of least weighted error", true, quantize_search},
};

// What units get where nobody asks for another.
inline constexpr const Quantizer& kUsualQuantizer = kQuantizers[1];

}  // namespace klens
