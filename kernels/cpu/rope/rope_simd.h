// For rope_<isa>.cpp only, after vec_<isa>.h. Internal linkage throughout.
#pragma once
#include "kernels/cpu/rope/rope.h"

namespace klens::cpu {
namespace {

template <class L>
inline void rotate(float* low, float* high, const float* cos, const float* sin, L lanes) {
  const Vec c = load(cos, lanes), s = load(sin, lanes);
  const Vec x = load(low, lanes), y = load(high, lanes);
  store(low, lanes, multiply_subtract(x, c, times(y, s)));
  store(high, lanes, multiply_add(y, c, times(x, s)));
}

inline void rotate(const RopeArgs& a) {
  for (int64_t t = 0; t < a.tokens; ++t)
    for (int64_t h = 0; h < a.heads; ++h) {
      float* low = a.x + t * a.x_stride + h * a.dim;
      float* high = low + a.pairs;
      const float* cos = a.cos + t * a.pairs;
      const float* sin = a.sin + t * a.pairs;
      over_whole(a.pairs, [=](int64_t i, auto lanes) {
        rotate(low + i, high + i, cos + i, sin + i, lanes);
      });
    }
}

}  // namespace
}  // namespace klens::cpu
