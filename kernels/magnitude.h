#pragma once
#include <algorithm>
#include <bit>
#include <cstdint>

namespace klens {

// The largest |x[i]|, 0 for none; NaN counts above all. Magnitudes of floats are ordered like their
// bits, and compilers vectorise integers.
inline float largest_magnitude(const float* x, int64_t count) {
  int32_t largest = 0;
  for (int64_t i = 0; i < count; ++i)
    largest = std::max(largest, std::bit_cast<int32_t>(x[i]) & 0x7fffffff);
  return std::bit_cast<float>(largest);
}

// The largest finite FP16, and what still rounds to it.
inline constexpr float kMaxF16 = 65504, kRoundsToMaxF16 = 65519;

}  // namespace klens
