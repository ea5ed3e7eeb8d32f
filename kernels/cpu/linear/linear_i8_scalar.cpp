#include <algorithm>

#include "kernels/cpu/linear/linear_i8.h"
#include "kernels/half.h"

namespace klens::cpu {

LinearI8 linear_i8_scalar;

// Each group's dot product in integers, the sum over groups in FP64. Columns are blocked only so
// that an integer is unpacked once for all tokens of a block.
void linear_i8_scalar(const LinearI8Args& a) {
  constexpr int64_t kCols = 256, kTokens = 16;
  const int64_t row_begin = a.tile_begin * kTileOutputs;
  const int64_t row_end = std::min(a.w.rows, a.tile_end * kTileOutputs);
  int32_t w[kCols];
  for (int64_t n = row_begin; n < row_end; ++n) {
    for (int64_t t0 = 0; t0 < a.tokens; t0 += kTokens) {
      const int64_t t1 = std::min(a.tokens, t0 + kTokens);
      double sum[kTokens] = {};
      for (int64_t g = 0; g < a.x_groups(); ++g) {
        const int64_t group_begin = g * a.x_group;
        const int64_t group_end = std::min(a.w.cols, group_begin + a.x_group);
        int32_t dot[kTokens] = {};
        for (int64_t k0 = group_begin; k0 < group_end; k0 += kCols) {
          const int64_t k1 = std::min(group_end, k0 + kCols);
          for (int64_t k = k0; k < k1; ++k) w[k - k0] = integer_at(a.w, n, k);
          for (int64_t t = t0; t < t1; ++t)
            for (int64_t k = k0; k < k1; ++k) dot[t - t0] += w[k - k0] * a.x[t * a.x_stride + k];
        }
        const int64_t w_group = n / kTileOutputs * a.w.groups() + group_begin / a.w.group;
        const int64_t at = w_group * kTileOutputs + n % kTileOutputs;
        const double w_scale = f16_to_f32(a.w.scale[at]);
        const double w_min = a.w.min == nullptr ? 0 : f16_to_f32(a.w.min[at]);
        for (int64_t t = t0; t < t1; ++t) {
          const int64_t i = t * a.x_groups() + g;
          sum[t - t0] += double{a.x_scale[i]} * (w_scale * dot[t - t0] + w_min * a.x_sum[i]);
        }
      }
      for (int64_t t = t0; t < t1; ++t) a.y[t * a.y_stride + n] = static_cast<float>(sum[t - t0]);
    }
  }
}

}  // namespace klens::cpu
