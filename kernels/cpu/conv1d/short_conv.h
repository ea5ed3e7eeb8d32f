#pragma once
#include <cstdint>
#include <span>

#include "kernels/cpu/variant.h"

namespace klens::cpu {

// LFM2's gated short convolution: causal, depthwise, over time, between two factors and without an
// activation.
//   u[t][c] = before[t][c] * x[t][c]
//   y[t][c] = after[t][c] * (bias[c] + sum over j of w[j][c] * u[t - (width - 1) + j][c])
// where u of negative times is the state. The state becomes the last width - 1 of u.
struct ShortConvArgs {
  const float *before, *after, *x;  // [tokens][channels], rows x_stride floats apart
  int64_t x_stride;
  float* y;  // [tokens][channels], rows y_stride floats apart; must not overlap the above
  int64_t y_stride;
  const float* w;     // [width][channels]: the checkpoint's [channels][1][width], transposed
  const float* bias;  // [channels], or null
  float* state;       // [width - 1][channels], oldest first; read and updated
  int64_t tokens;
  int64_t channels;
  int64_t width;                       // 1 to 16
  int64_t channel_begin, channel_end;  // only these channels are read, written and updated
};

// No allocation, errors or globals. Bit-equal however the tokens are cut into calls; the state is
// that of every variant, as u is rounded to FP32 by all.
// |y - y_scalar| <= (width + 2) * eps * |after| * (|bias| + sum |w * u|).
using ShortConv = void(const ShortConvArgs&);

std::span<const Variant<ShortConv>> short_conv_variants();

}  // namespace klens::cpu
