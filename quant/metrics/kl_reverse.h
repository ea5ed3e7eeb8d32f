#pragma once
#include "quant/metric.h"

namespace klens {

inline constexpr Metric kKlReverse = {
    .name = "kl_reverse",
    .about = "KL divergence of the original from it, nats per token",
    .better = Better::kLower,
    .from_zero = false,
    .lossless = 0.0,
    .of_scores = [](const WindowScore& sum, int64_t) { return sum.per_position(sum.kl_reverse); }};

}  // namespace klens
