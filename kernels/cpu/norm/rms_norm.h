#pragma once
#include <cstdint>
#include <span>

#include "kernels/cpu/variant.h"

namespace klens::cpu {

// Root mean square normalisation (arXiv 1910.07467): y = x / sqrt(mean(x^2) + epsilon) * weight.
struct RmsNormArgs {
  const float* x;  // [tokens][cols], rows x_stride floats apart
  int64_t x_stride;
  float* y;  // [tokens][cols], rows y_stride floats apart; may be x itself
  int64_t y_stride;
  const float* weight;  // [cols], or null for all ones
  int64_t tokens;
  int64_t cols;
  float epsilon;
};

// |y - y_scalar| <= 3 eps |y|. Each token is independent and bit-equal in any
// batch.
using RmsNorm = void(const RmsNormArgs&);

std::span<const Variant<RmsNorm>> rms_norm_variants();

}  // namespace klens::cpu
