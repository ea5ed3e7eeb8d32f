#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/cpu/activations/quantize_activations.h"

namespace klens::cpu {

QuantizeActivations quantize_activations_scalar;

void quantize_activations_scalar(const QuantizeActivationsArgs& a) {
  const int64_t groups = (a.cols + a.group - 1) / a.group, steps = (a.cols + a.step - 1) / a.step;
  const int64_t padded = (a.cols + 31) / 32 * 32;
  for (int64_t t = 0; t < a.tokens; ++t) {
    const float* x = a.x + t * a.x_stride;
    int8_t* q = a.q + t * a.q_stride;
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t begin = g * a.group, end = std::min(a.cols, begin + a.group);
      float max = 0;
      for (int64_t k = begin; k < end; ++k) max = std::max(max, std::fabs(x[k]));
      const bool zero = max < kQuantizeActivationsFloor;
      const float factor = zero ? 0.0f : 127.0f / max;
      for (int64_t k = begin; k < end; ++k) {
        const float rounded = std::nearbyint(x[k] * factor);  // to even, the default mode
        q[k] = static_cast<int8_t>(std::clamp(rounded, -127.0f, 127.0f));
      }
      for (int64_t k = begin; k < end; k += a.step) {
        const int64_t i = t * steps + k / a.step;
        a.scale[i] = zero ? 0.0f : max / 127.0f;
        a.sum[i] = std::accumulate(q + k, q + std::min(end, k + a.step), int32_t{0});
      }
    }
    for (int64_t k = a.cols; k < padded; ++k) q[k] = 0;
  }
}

}  // namespace klens::cpu
