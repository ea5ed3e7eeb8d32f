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

// With v = x + bias, rounded to FP32 by every variant:
//   exp       y = e^v                 |error| <= eps y where y is normal
//   silu      y = v / (1 + e^-v)      |error| <= 2 eps |y| + 1e-36
//   softplus  y = log(1 + e^v)        |error| <= 2 eps y + 1e-37; above 20 that is v, as PyTorch
//   has it
//   gelu      y = v Phi(v), by erf    |error| <= 8 eps |v|, v finite or +infinity
//   relu2     y = max(v, 0)^2         exact but for one rounding
// The vector rows share one polynomial exp (math_simd.h): 0 below -87.336 (gradual underflow is not
// kept), infinity above 88.7228. NaN stays NaN.
using Elementwise = void(const ElementwiseArgs&);

std::span<const Variant<Elementwise>> exp_variants();
std::span<const Variant<Elementwise>> silu_variants();
std::span<const Variant<Elementwise>> softplus_variants();
std::span<const Variant<Elementwise>> gelu_variants();
std::span<const Variant<Elementwise>> relu2_variants();

}  // namespace klens::cpu
