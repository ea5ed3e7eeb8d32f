#pragma once
#include <cstdint>
#include <span>

#include "kernels/cpu/variant.h"

namespace klens::cpu {

// y = act(gate_scale * gate) * up over [tokens][cols]: the middle of a gated MLP (arXiv
// 2002.05202), and the gates of Mamba-2 and of attention. gate_scale * gate is rounded to FP32 by
// every variant.
struct GatedArgs {
  const float* gate;  // [tokens][cols], rows gate_stride floats apart
  int64_t gate_stride;
  float gate_scale;
  const float* up;  // [tokens][cols], rows up_stride floats apart
  int64_t up_stride;
  float* y;  // [tokens][cols], rows y_stride floats apart; may be gate or up itself
  int64_t y_stride;
  int64_t tokens;
  int64_t cols;
};

// |y - y_scalar| <= 4 eps |y| + 1e-36 |up| (silu, sigmoid), 8 eps |gate up| (gelu: x Phi(x), by
// erf).
using Gated = void(const GatedArgs&);

std::span<const Variant<Gated>> gated_silu_variants();
std::span<const Variant<Gated>> gated_gelu_variants();
std::span<const Variant<Gated>> gated_sigmoid_variants();

}  // namespace klens::cpu
