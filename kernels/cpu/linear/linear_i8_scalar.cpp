#include <algorithm>

#include "kernels/cpu/linear/linear_i8.h"
#include "kernels/half.h"

namespace klens::cpu {

LinearI8 linear_i8_scalar;

namespace {

int32_t integer_at(const WeightView& w, int64_t n, int64_t k) {
  const int64_t tile = n / kTileOutputs * w.col_tiles() + k / tile_cols(w.layout);
  const auto* bytes = static_cast<const uint8_t*>(w.data) + tile * kTileBytes;
  const uint8_t byte = bytes[n % kTileOutputs * 4 + k % 4];
  if (w.layout == Layout::kTilesI8) return static_cast<int8_t>(byte);
  return (k % 8 < 4 ? byte & 15 : byte >> 4) - 8;
}

}  // namespace

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
        const int64_t scale_group = group_begin / a.w.group;
        const double w_scale =
            f16_to_f32(a.w.scale[(n / kTileOutputs * a.w.groups() + scale_group) * kTileOutputs +
                                 n % kTileOutputs]);
        for (int64_t t = t0; t < t1; ++t)
          sum[t - t0] += w_scale * double{a.x_scale[t * a.x_groups() + g]} * dot[t - t0];
      }
      for (int64_t t = t0; t < t1; ++t) a.y[t * a.y_stride + n] = static_cast<float>(sum[t - t0]);
    }
  }
}

}  // namespace klens::cpu
