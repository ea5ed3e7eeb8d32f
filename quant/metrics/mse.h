#pragma once
#include "quant/metric.h"

namespace klens {

inline constexpr Metric kMse = {.name = "mse",
                                .about = "mean squared error of the logits",
                                .better = Better::kLower,
                                .from_zero = true,
                                .lossless = 0.0,
                                .of_scores = [](const WindowScore& sum, int64_t vocab) {
                                  return sum.per_position(sum.squared_error) /
                                         static_cast<double>(vocab);
                                }};

}  // namespace klens
