#include <algorithm>

#include "kernels/cpu/linear/linear_f32.h"

namespace klens::cpu {

LinearF32 linear_f32_scalar;

// The sum in FP64, rounded once. Blocks of columns and tokens only spare expanding a weight for
// every token.
void linear_f32_scalar(const LinearF32Args& a) {
  constexpr int64_t kCols = 256, kTokens = 16;
  const int64_t row_begin = a.tile_begin * kTileOutputs;
  const int64_t row_end = std::min(a.w.rows, a.tile_end * kTileOutputs);
  float w[kCols];
  for (int64_t n = row_begin; n < row_end; ++n) {
    for (int64_t t0 = 0; t0 < a.tokens; t0 += kTokens) {
      const int64_t t1 = std::min(a.tokens, t0 + kTokens);
      double sum[kTokens] = {};
      for (int64_t k0 = 0; k0 < a.w.cols; k0 += kCols) {
        const int64_t k1 = std::min(a.w.cols, k0 + kCols);
        expand_columns(a.w, n, k0, k1, w);
        for (int64_t t = t0; t < t1; ++t)
          for (int64_t k = k0; k < k1; ++k)
            sum[t - t0] += double{w[k - k0]} * double{a.x[t * a.x_stride + k]};
      }
      for (int64_t t = t0; t < t1; ++t) a.y[t * a.y_stride + n] = static_cast<float>(sum[t - t0]);
    }
  }
}

}  // namespace klens::cpu
