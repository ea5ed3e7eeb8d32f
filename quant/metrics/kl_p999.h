#pragma once
#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "quant/metric.h"

namespace klens {

// The 99.9th percentile over positions, interpolated as `klens compare` and llama.cpp do. Exact:
// only the largest values matter, and windows keep as many of theirs as can (WindowScore::largest).
inline constexpr double kTailPercent = 99.9;

// How many of the largest of n values, one or more, it is made of at most.
inline size_t tail_length(int64_t n) {
  return static_cast<size_t>(n) -
         static_cast<size_t>(kTailPercent / 100 * static_cast<double>(n - 1));
}

inline double tail_kl(const WindowScore& sum, int64_t) {
  std::vector<double> largest = sum.largest;
  if (sum.positions < 1 || largest.size() < tail_length(sum.positions))
    return std::numeric_limits<double>::quiet_NaN();
  std::ranges::sort(largest, std::greater());
  const auto n = static_cast<size_t>(sum.positions);
  const double at = kTailPercent / 100 * static_cast<double>(n - 1);
  const size_t low = static_cast<size_t>(at), high = std::min(low + 1, n - 1);
  const double below = largest[n - 1 - low], above = largest[n - 1 - high];
  return below + (at - static_cast<double>(low)) * (above - below);
}

inline constexpr Metric kKlP999 = {.name = "kl_p999",
                                   .about = "99.9th percentile of the KL of tokens, nats",
                                   .better = Better::kLower,
                                   .from_zero = false,
                                   .lossless = 0.0,
                                   .of_scores = tail_kl};

}  // namespace klens
