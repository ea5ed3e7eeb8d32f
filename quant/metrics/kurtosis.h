#pragma once
#include <vector>

#include "quant/metric.h"

namespace klens {

// Pearson's (normal = 3), biased, of the flattened weights.
inline double kurtosis_of(const WeightView& w) {
  std::vector<float> row(static_cast<size_t>(w.cols));
  const double n = static_cast<double>(w.rows) * static_cast<double>(w.cols);
  double sum = 0, m2 = 0, m4 = 0;
  for (int64_t r = 0; r < w.rows; ++r) {
    expand_row(w, r, row.data());
    for (const float v : row) sum += v;
  }
  const double mean = sum / n;
  for (int64_t r = 0; r < w.rows; ++r) {
    expand_row(w, r, row.data());
    for (const float v : row) {
      const double d2 = (v - mean) * (v - mean);
      m2 += d2;
      m4 += d2 * d2;
    }
  }
  return m2 > 0 ? (m4 / n) / (m2 / n * (m2 / n)) : 0;
}

inline constexpr Metric kKurtosis = {.name = "kurtosis",
                                     .about = "Pearson's kurtosis of the weights (normal: 3)",
                                     .better = Better::kNeither,
                                     .from_zero = true,
                                     .lossless = std::nullopt,
                                     .of_weights = kurtosis_of};

}  // namespace klens
