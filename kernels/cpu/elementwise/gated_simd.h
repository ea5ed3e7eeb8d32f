// For gated_<isa>.cpp only, after vec_<isa>.h. Internal linkage throughout.
#pragma once
#include "kernels/cpu/elementwise/gated.h"

namespace klens::cpu {
namespace {

template <Vec (*Act)(Vec)>
inline void gate(const GatedArgs& a) {
  const Vec scale = each(a.gate_scale);
  for (int64_t t = 0; t < a.tokens; ++t) {
    over(a.cols, [&](int64_t i, auto lanes) {
      const Vec v = Act(times(scale, load(a.gate + t * a.gate_stride + i, lanes)));
      const Vec up = load(a.up + t * a.up_stride + i, lanes);
      store(a.y + t * a.y_stride + i, lanes, times(v, up));
    });
  }
}

}  // namespace
}  // namespace klens::cpu
