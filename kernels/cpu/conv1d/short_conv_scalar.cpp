#include "kernels/cpu/conv1d/short_conv.h"

namespace klens::cpu {

ShortConv short_conv_scalar;

void short_conv_scalar(const ShortConvArgs& a) {
  const int64_t past = a.width - 1;
  for (int64_t c = a.channel_begin; c < a.channel_end; ++c) {
    const auto input = [&](int64_t t) {  // negative times are the state
      return t < 0 ? a.state[(t + past) * a.channels + c]
                   : a.before[t * a.x_stride + c] * a.x[t * a.x_stride + c];
    };
    for (int64_t t = 0; t < a.tokens; ++t) {
      double v = a.bias == nullptr ? 0.0 : double{a.bias[c]};
      for (int64_t j = 0; j < a.width; ++j)
        v += double{a.w[j * a.channels + c]} * double{input(t - past + j)};
      a.y[t * a.y_stride + c] = static_cast<float>(double{a.after[t * a.x_stride + c]} * v);
    }
    // Oldest first, so that a slot is read before a later one overwrites it.
    for (int64_t j = 0; j < past; ++j) a.state[j * a.channels + c] = input(a.tokens - past + j);
  }
}

}  // namespace klens::cpu
