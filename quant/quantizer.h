#pragma once
#include "quant/format.h"
#include "quant/quantizers/rtn.h"
#include "quant/table.h"

namespace klens {

// A way to choose the numbers that a unit's weights become in a format.
struct Quantizer {
  const char* name;
  const char* about;  // for lists of quantizers: one line, no full stop
  // Threads: tbb's current arena.
  PackedWeight (*quantize)(const Format& format, const WeightView& source);
};

// The first is what is meant where none is named.
inline constexpr Quantizer kQuantizers[] = {
    {"rtn", "round to nearest", quantize_rtn},
};

}  // namespace klens
