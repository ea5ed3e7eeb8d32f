// For rms_norm_<isa>.cpp only, after vec_<isa>.h. Internal linkage throughout.
#pragma once
#include "kernels/cpu/norm/rms_norm.h"

namespace klens::cpu {
namespace {

// In FP64: an error of the sum is one of all the outputs together, which deep models amplify. Four
// chains of eight, or their latency would be the time.
inline double sum_of_squares(const float* x, int64_t cols) {
  Doubles sum[4] = {};
  int64_t i = 0;
  for (; i + 32 <= cols; i += 32)
    for (int j = 0; j < 4; ++j) {
      const Doubles v = load_doubles(x + i + 8 * j);
      sum[j] = multiply_add(v, v, sum[j]);
    }
  for (; i < cols; i += 8) {
    const Doubles v = load_doubles(x + i, cols - i);
    sum[0] = multiply_add(v, v, sum[0]);
  }
  return sum_of(add(add(sum[0], sum[1]), add(sum[2], sum[3])));
}

inline void normalise(const RmsNormArgs& a) {
  for (int64_t t = 0; t < a.tokens; ++t) {
    const float* x = a.x + t * a.x_stride;
    float* y = a.y + t * a.y_stride;
    const double mean = sum_of_squares(x, a.cols) / static_cast<double>(a.cols);
    const __m128d root = _mm_sqrt_pd(_mm_set1_pd(mean + static_cast<double>(a.epsilon)));
    const Vec factor = each(static_cast<float>(1 / _mm_cvtsd_f64(root)));
    over(a.cols, [&](int64_t i, auto lanes) {
      Vec v = times(load(x + i, lanes), factor);
      if (a.weight != nullptr) v = times(v, load(a.weight + i, lanes));
      store(y + i, lanes, v);
    });
  }
}

}  // namespace
}  // namespace klens::cpu
