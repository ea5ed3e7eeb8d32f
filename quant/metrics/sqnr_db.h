#pragma once
#include <algorithm>
#include <cmath>

#include "quant/metric.h"

namespace klens {

inline constexpr double kMaxSqnrDb = 200;  // no error at all: JSON has no infinity

inline constexpr Metric kSqnrDb = {
    .name = "sqnr_db",
    .about = "signal to quantization noise of the logits, decibels",
    .better = Better::kHigher,
    .from_zero = false,
    .lossless = kMaxSqnrDb,
    .of_scores = [](const WindowScore& sum, int64_t) {
      return sum.squared_error > 0
                 ? std::min(kMaxSqnrDb, 10 * std::log10(sum.squared / sum.squared_error))
                 : kMaxSqnrDb;
    }};

}  // namespace klens
