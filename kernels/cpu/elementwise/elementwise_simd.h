// For elementwise_<isa>.cpp only, after vec_<isa>.h. Internal linkage throughout.
#pragma once
#include "kernels/cpu/elementwise/elementwise.h"

namespace klens::cpu {
namespace {

template <Vec (*F)(Vec)>
inline void map(const ElementwiseArgs& a) {
  for (int64_t t = 0; t < a.tokens; ++t) {
    const float* x = a.x + t * a.x_stride;
    float* y = a.y + t * a.y_stride;
    over(a.cols, [&](int64_t i, auto lanes) {
      Vec v = load(x + i, lanes);
      if (a.bias != nullptr) v = add(v, load(a.bias + i, lanes));
      store(y + i, lanes, F(v));
    });
  }
}

}  // namespace
}  // namespace klens::cpu
