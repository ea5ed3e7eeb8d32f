#pragma once
#include <cstdint>
#include <span>

#include "kernels/cpu/variant.h"
#include "kernels/weights.h"

namespace klens::cpu {

// y[t][n] = sum over k of W[n][k] * x[t][k], FP32 activations, weights of any layout.
struct LinearF32Args {
  WeightView w;    // [rows][cols]
  const float* x;  // [tokens][cols], rows x_stride floats apart
  int64_t x_stride;
  float* y;  // [tokens][rows], rows y_stride floats apart
  int64_t y_stride;
  int64_t tokens;
  int64_t tile_begin, tile_end;  // outputs [16 * tile_begin, min(rows, 16 * tile_end)) are written
  // Whether x, and W where it is of 16 bits, may be rounded to BF16 before they are multiplied. So
  // they are in variants that win by it.
  bool rounded = false;
};

// No allocation (a fixed panel on the stack at most), locks, errors or globals; nothing outside the
// stated extents is read or written. x and y must not overlap.
// One variant gives bit-equal results for a (token, output) whatever `tokens` and the tile
// range are: the sum runs over k in one fixed order.
// |y - y_scalar| <= cols * eps * sum over k of |W[n][k] * x[t][k]|; where rounded, 2^-7 + 2^-16
// more of the sum.
using LinearF32 = void(const LinearF32Args&);

std::span<const Variant<LinearF32>> linear_f32_variants();

}  // namespace klens::cpu
