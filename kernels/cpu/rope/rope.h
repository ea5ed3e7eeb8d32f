#pragma once
#include <cstdint>
#include <span>

#include "kernels/cpu/variant.h"

namespace klens::cpu {

// Rotary position embedding (arXiv 2104.09864) in the half-split order of transformers: for i in
// [0, pairs),
//   x[i], x[i + pairs] = x[i] cos[t][i] - x[i + pairs] sin[t][i], x[i + pairs] cos[t][i] + x[i]
//   sin[t][i]
// Channels from 2 pairs on stay as they are (partial rotation).
struct RopeArgs {
  float* x;  // [tokens][heads][dim], rows x_stride floats apart; rotated in place
  int64_t x_stride;
  const float* cos;                   // [tokens][pairs]
  const float* sin;                   // [tokens][pairs]
  int64_t tokens, heads, dim, pairs;  // 2 pairs <= dim
};

// |x - x_scalar| <= 2 eps (|x[i]| + |x[i + pairs]|). Each token is bit-equal in any batch.
using Rope = void(const RopeArgs&);

std::span<const Variant<Rope>> rope_variants();

}  // namespace klens::cpu
