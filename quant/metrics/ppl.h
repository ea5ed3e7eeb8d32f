#pragma once
#include <cmath>

#include "quant/metric.h"

namespace klens {

inline constexpr Metric kPpl = {
    .name = "ppl",
    .about = "perplexity on the text",
    .better = Better::kLower,
    .from_zero = true,
    .lossless = std::nullopt,
    .of_scores = [](const WindowScore& sum, int64_t) { return std::exp(sum.per_label(sum.ce)); }};

}  // namespace klens
