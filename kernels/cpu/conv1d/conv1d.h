#pragma once
#include <cstdint>
#include <span>

#include "kernels/cpu/variant.h"

namespace klens::cpu {

// Causal depthwise convolution over time, then SiLU (Mamba, arXiv 2312.00752, sec. 3.4):
//   y[t][c] = silu(bias[c] + sum over j of w[j][c] * x[t - (width - 1) + j][c])
// where x of negative times is the state. The state becomes the last width - 1 inputs.
struct Conv1dArgs {
  const float* x;  // [tokens][channels], rows x_stride floats apart
  int64_t x_stride;
  float* y;  // [tokens][channels], rows y_stride floats apart; must not overlap x
  int64_t y_stride;
  const float* w;     // [width][channels]: the checkpoint's [channels][1][width], transposed
  const float* bias;  // [channels], or null
  float* state;       // [width - 1][channels], oldest first; read and updated
  int64_t tokens;
  int64_t channels;
  int64_t width;                       // 1 to 16
  int64_t channel_begin, channel_end;  // only these channels are read, written and updated
};

// No allocation, errors or globals. Bit-equal however the tokens are cut into calls.
// |y - y_scalar| <= 4 * (width + 2) * eps * (|bias| + sum |w * x|): SiLU's slope is below 1.1 and
// its own relative error 2 eps.
using Conv1d = void(const Conv1dArgs&);

std::span<const Variant<Conv1d>> conv1d_variants();

}  // namespace klens::cpu
