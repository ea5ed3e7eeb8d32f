#pragma once
#include "quant/metric.h"

namespace klens {

inline constexpr Metric kDeltaCe = {
    .name = "delta_ce",
    .about = "rise of the cross entropy on the text, nats per token",
    .better = Better::kLower,
    .from_zero = false,
    .lossless = 0.0,
    .of_scores = [](const WindowScore& sum, int64_t) { return sum.per_label(sum.delta_ce); }};

}  // namespace klens
