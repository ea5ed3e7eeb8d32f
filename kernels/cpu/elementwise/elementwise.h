#pragma once
#include <cstdint>
#include <span>

#include "kernels/cpu/variant.h"

namespace klens::cpu {

// Element by element over [tokens][cols]: y = f(x + bias[col]); bias may be null.
struct ElementwiseArgs {
  const float* x;  // [tokens][cols], rows x_stride floats apart
  int64_t x_stride;
  float* y;  // [tokens][cols], rows y_stride floats apart; may be x itself
  int64_t y_stride;
  const float* bias;  // [cols], or null
  int64_t tokens;
  int64_t cols;
};

// The vector rows use one polynomial exp: x = n ln2 + r with Cody-Waite reduction, degree 6 or so
// in r, scaled by 2^n; relative error at most 4 eps against the exact value where the result is
// normal, 0 below -87.33 or thereabouts (gradual underflow is not kept), infinity above 88.72. NaN
// stays NaN.
//   exp       y = e^v                      relative error <= 4 eps
//   silu      y = v / (1 + e^-v)           |error| <= 6 eps |y| + 1e-37
//   softplus  y = log(1 + e^v), v if > 20  |error| <= 8 eps y + 1e-37  (as PyTorch's threshold of
//   20)
// with v = x + bias.
using Elementwise = void(const ElementwiseArgs&);

std::span<const Variant<Elementwise>> exp_variants();
std::span<const Variant<Elementwise>> silu_variants();
std::span<const Variant<Elementwise>> softplus_variants();

}  // namespace klens::cpu
