#pragma once
#include "quant/metric.h"

namespace klens {

// Of a candidate alone, without a pass of the model; see quant/output_error.h.
inline constexpr Metric kOutputError = {
    .name = "output_error",
    .about = "what the unit's own outputs lose, as a share of what they are",
    .better = Better::kLower,
    .from_zero = true,
    .lossless = 0.0};

}  // namespace klens
