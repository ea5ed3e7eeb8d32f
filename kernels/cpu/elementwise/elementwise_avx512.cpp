// Built with -mavx512f -mavx512bw -mavx512dq -mavx512vl and AVX2's flags. See kernels/README.md for
// the one rule of such files.
#include "kernels/cpu/avx512_math.h"
#include "kernels/cpu/elementwise/elementwise.h"

namespace klens::cpu {

Elementwise exp_avx512, silu_avx512, softplus_avx512, gelu_avx512, relu2_avx512;

namespace {

template <class F>
inline void each(const ElementwiseArgs& a, F f) {
  for (int64_t t = 0; t < a.tokens; ++t) {
    const float* x = a.x + t * a.x_stride;
    float* y = a.y + t * a.y_stride;
    for (int64_t i = 0; i < a.cols; i += 16) {
      const __mmask16 mask = first_lanes16(a.cols - i);
      __m512 v = load16(x + i, mask);
      if (a.bias != nullptr) v = _mm512_add_ps(v, load16(a.bias + i, mask));
      store16(y + i, mask, f(v));
    }
  }
}

}  // namespace

void exp_avx512(const ElementwiseArgs& a) {
  each(a, [](__m512 v) { return exp16(v); });
}

void silu_avx512(const ElementwiseArgs& a) {
  each(a, [](__m512 v) { return silu16(v); });
}

void softplus_avx512(const ElementwiseArgs& a) {
  each(a, [](__m512 v) { return softplus16(v); });
}

void gelu_avx512(const ElementwiseArgs& a) {
  each(a, [](__m512 v) { return gelu16(v); });
}

void relu2_avx512(const ElementwiseArgs& a) {
  each(a, [](__m512 v) {
    const __m512 positive = _mm512_max_ps(_mm512_setzero_ps(), v);  // v where it is NaN
    return _mm512_mul_ps(positive, positive);
  });
}

}  // namespace klens::cpu
