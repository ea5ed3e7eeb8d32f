#pragma once
#include <cstdint>
#include <span>

#include "kernels/cpu/variant.h"
#include "kernels/weights.h"

namespace klens::cpu {

// y[t][n] = sum over groups g of x_scale[t][g] * (w_scale[n][g] * (integer dot product of group g)
//                                                  + w_min[n][g] * x_sum[t][g]),
// the second term where W has minima. Weights of an integer layout and activations made by
// quantize_activations.h: integers in [-127, 127].
struct LinearI8Args {
  WeightView w;          // an integer layout
  const int8_t* x;       // [tokens][x_stride], zero beyond cols up to a multiple of 32
  int64_t x_stride;      // bytes, a multiple of 32
  const float* x_scale;  // [tokens][x_groups]
  const int32_t* x_sum;  // [tokens][x_groups], sum of the group's integers
  int64_t x_group;  // columns per activation scale, a multiple of 32, or 16 but for INT8. Equal
                    // to w.group, or, where W has one scale per output, any
  float* y;         // [tokens][rows], rows y_stride floats apart
  int64_t y_stride;
  int64_t tokens;
  int64_t tile_begin, tile_end;  // outputs [16 * tile_begin, min(rows, 16 * tile_end)) are written

  int64_t x_groups() const { return (w.cols + x_group - 1) / x_group; }
};

// As LinearF32: no allocation, errors or globals; bit-equal per (token, output) whatever the
// ranges. Integer parts are exact with every variant, also where all are as large as can be; what
// differs is FP32 rounding: |y - y_scalar| <= (x_groups + 3) * eps * sum over g of
// (|x_scale * w_scale * dot| + |x_scale * w_min * x_sum|).
using LinearI8 = void(const LinearI8Args&);

std::span<const Variant<LinearI8>> linear_i8_variants();

}  // namespace klens::cpu
