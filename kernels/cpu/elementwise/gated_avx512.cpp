// Built with -mavx512f -mavx512bw -mavx512dq -mavx512vl and AVX2's flags. See kernels/README.md for
// the one rule of such files.
#include "kernels/cpu/avx512_math.h"
#include "kernels/cpu/elementwise/gated.h"

namespace klens::cpu {

Gated gated_silu_avx512, gated_gelu_avx512;

namespace {

template <class F>
inline void each(const GatedArgs& a, F act) {
  const __m512 scale = _mm512_set1_ps(a.gate_scale);
  for (int64_t t = 0; t < a.tokens; ++t)
    for (int64_t i = 0; i < a.cols; i += 16) {
      const __mmask16 mask = first_lanes16(a.cols - i);
      const __m512 gate = load16(a.gate + t * a.gate_stride + i, mask);
      const __m512 up = load16(a.up + t * a.up_stride + i, mask);
      const __m512 v = act(_mm512_mul_ps(scale, gate));
      store16(a.y + t * a.y_stride + i, mask, _mm512_mul_ps(v, up));
    }
}

}  // namespace

void gated_silu_avx512(const GatedArgs& a) {
  each(a, [](__m512 v) { return silu16(v); });
}

void gated_gelu_avx512(const GatedArgs& a) {
  each(a, [](__m512 v) { return gelu16(v); });
}

}  // namespace klens::cpu
