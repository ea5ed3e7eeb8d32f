// For short_conv_<isa>.cpp only, after vec_<isa>.h. Internal linkage throughout.
#pragma once
#include "kernels/cpu/conv1d/short_conv.h"

namespace klens::cpu {
namespace {

constexpr int64_t kMaxWidth = 16;

// All tokens of a vector of channels: the last width inputs stay in registers. Width is the
// compile-time width, or 0 for any.
template <int Width, class L>
inline void convolve(const ShortConvArgs& a, int64_t c, L lanes) {
  const int64_t width = Width != 0 ? Width : a.width, past = width - 1;
  constexpr int kSlots = Width != 0 ? Width : kMaxWidth;
  Vec w[kSlots], u[kSlots];
  for (int64_t j = 0; j < width; ++j) w[j] = load(a.w + j * a.channels + c, lanes);
  for (int64_t j = 0; j < past; ++j) u[j] = load(a.state + j * a.channels + c, lanes);
  const Vec bias = a.bias == nullptr ? each(0) : load(a.bias + c, lanes);
  for (int64_t t = 0; t < a.tokens; ++t) {
    const int64_t at = t * a.x_stride + c;
    u[past] = times(load(a.before + at, lanes), load(a.x + at, lanes));
    Vec v = bias;
    for (int64_t j = 0; j < width; ++j) v = multiply_add(w[j], u[j], v);
    store(a.y + t * a.y_stride + c, lanes, times(load(a.after + at, lanes), v));
    for (int64_t j = 0; j < past; ++j) u[j] = u[j + 1];
  }
  for (int64_t j = 0; j < past; ++j) store(a.state + j * a.channels + c, lanes, u[j]);
}

inline void convolve_some(const ShortConvArgs& a) {
  over(a.channel_end - a.channel_begin, [&](int64_t i, auto lanes) {
    const int64_t c = a.channel_begin + i;
    switch (a.width) {
      case 3:
        return convolve<3>(a, c, lanes);
      case 4:
        return convolve<4>(a, c, lanes);
      default:
        return convolve<0>(a, c, lanes);
    }
  });
}

// Rows are far apart, so few enough at a time that their pages stay known from channel to channel.
inline void convolve(const ShortConvArgs& a) {
  constexpr int64_t kTokens = 16;
  ShortConvArgs some = a;
  for (int64_t t = 0; t < a.tokens; t += kTokens) {
    const int64_t at = t * a.x_stride;
    some.before = a.before + at;
    some.after = a.after + at;
    some.x = a.x + at;
    some.y = a.y + t * a.y_stride;
    some.tokens = a.tokens - t < kTokens ? a.tokens - t : kTokens;
    convolve_some(some);
  }
}

}  // namespace
}  // namespace klens::cpu
