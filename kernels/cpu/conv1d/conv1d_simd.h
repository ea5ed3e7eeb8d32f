// For conv1d_<isa>.cpp only, after vec_<isa>.h. Internal linkage throughout.
#pragma once
#include "kernels/cpu/conv1d/conv1d.h"

namespace klens::cpu {
namespace {

constexpr int64_t kMaxWidth = 16;
constexpr int64_t kTokens = 8;  // per pass over the channels, so that a weight is loaded once for 8

// y of tokens [0, tokens) and a vector of channels; rows[i] is the input row of time i - (width -
// 1). Width is the compile-time width, or 0 for any.
template <int Width, class L>
inline void convolve(const Conv1dArgs& a, const float* const* rows, float* y, int64_t tokens,
                     int64_t c, L lanes) {
  const int64_t width = Width != 0 ? Width : a.width;
  Vec w[Width != 0 ? Width : kMaxWidth];
  for (int64_t j = 0; j < width; ++j) w[j] = load(a.w + j * a.channels + c, lanes);
  const Vec bias = a.bias == nullptr ? each(0) : load(a.bias + c, lanes);
  for (int64_t t = 0; t < tokens; ++t) {
    Vec v = bias;
    for (int64_t j = 0; j < width; ++j) v = multiply_add(w[j], load(rows[t + j] + c, lanes), v);
    store(y + t * a.y_stride + c, lanes, silu(v));
  }
}

inline void convolve(const Conv1dArgs& a) {
  const int64_t past = a.width - 1;
  const float* rows[kTokens + kMaxWidth];
  for (int64_t t0 = 0; t0 < a.tokens; t0 += kTokens) {
    const int64_t tokens = a.tokens - t0 < kTokens ? a.tokens - t0 : kTokens;
    for (int64_t i = 0; i < tokens + past; ++i) {
      const int64_t t = t0 + i - past;
      rows[i] = t < 0 ? a.state + (t + past) * a.channels : a.x + t * a.x_stride;
    }
    float* y = a.y + t0 * a.y_stride;
    const int64_t c = a.channel_begin, channels = a.channel_end - c;
    if (a.width == 4) {
      over(channels, [&](int64_t i, auto lanes) { convolve<4>(a, rows, y, tokens, c + i, lanes); });
    } else {
      over(channels, [&](int64_t i, auto lanes) { convolve<0>(a, rows, y, tokens, c + i, lanes); });
    }
  }
  // Oldest first, so that a slot is read before a later one overwrites it.
  for (int64_t j = 0; j < past; ++j) {
    const int64_t t = a.tokens - past + j;
    const float* from = t < 0 ? a.state + (t + past) * a.channels : a.x + t * a.x_stride;
    float* to = a.state + j * a.channels;
    over(a.channel_end - a.channel_begin, [&](int64_t i, auto lanes) {
      store(to + a.channel_begin + i, lanes, load(from + a.channel_begin + i, lanes));
    });
  }
}

}  // namespace
}  // namespace klens::cpu
