#pragma once
#include "quant/metric.h"

namespace klens {

inline constexpr Metric kKl = {
    .name = "kl",
    .about = "KL divergence from the original, nats per token",
    .better = Better::kLower,
    .from_zero = false,
    .lossless = 0.0,
    .of_scores = [](const WindowScore& sum, int64_t) { return sum.per_position(sum.kl); }};

}  // namespace klens
