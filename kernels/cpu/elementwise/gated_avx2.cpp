// Built with -mavx2 -mfma -mf16c. See kernels/README.md for the one rule of such files.
#include "kernels/cpu/avx2_math.h"
#include "kernels/cpu/elementwise/gated.h"

namespace klens::cpu {

Gated gated_silu_avx2, gated_gelu_avx2;

namespace {

template <bool Masked, class F>
inline void eight(const GatedArgs& a, int64_t t, int64_t i, __m256i mask, F act) {
  const __m256 gate = load8<Masked>(a.gate + t * a.gate_stride + i, mask);
  const __m256 up = load8<Masked>(a.up + t * a.up_stride + i, mask);
  const __m256 v = act(_mm256_mul_ps(_mm256_set1_ps(a.gate_scale), gate));
  store8<Masked>(a.y + t * a.y_stride + i, mask, _mm256_mul_ps(v, up));
}

template <class F>
inline void each(const GatedArgs& a, F act) {
  for (int64_t t = 0; t < a.tokens; ++t) {
    int64_t i = 0;
    for (; i + 8 <= a.cols; i += 8) eight<false>(a, t, i, first_lanes(8), act);
    if (i < a.cols) eight<true>(a, t, i, first_lanes(a.cols - i), act);
  }
}

}  // namespace

void gated_silu_avx2(const GatedArgs& a) {
  each(a, [](__m256 v) { return silu8(v); });
}

void gated_gelu_avx2(const GatedArgs& a) {
  each(a, [](__m256 v) { return gelu8(v); });
}

}  // namespace klens::cpu
