// Built with -mavx2 -mfma -mf16c. See kernels/README.md for the one rule of such files.
#include "kernels/cpu/avx2_math.h"
#include "kernels/cpu/elementwise/elementwise.h"

namespace klens::cpu {

Elementwise exp_avx2, silu_avx2, softplus_avx2, gelu_avx2, relu2_avx2;

namespace {

template <class F>
inline void each(const ElementwiseArgs& a, F f) {
  for (int64_t t = 0; t < a.tokens; ++t) {
    const float* x = a.x + t * a.x_stride;
    float* y = a.y + t * a.y_stride;
    int64_t i = 0;
    for (; i + 8 <= a.cols; i += 8) {
      __m256 v = _mm256_loadu_ps(x + i);
      if (a.bias != nullptr) v = _mm256_add_ps(v, _mm256_loadu_ps(a.bias + i));
      _mm256_storeu_ps(y + i, f(v));
    }
    if (i < a.cols) {
      const __m256i mask = first_lanes(a.cols - i);
      __m256 v = _mm256_maskload_ps(x + i, mask);
      if (a.bias != nullptr) v = _mm256_add_ps(v, _mm256_maskload_ps(a.bias + i, mask));
      _mm256_maskstore_ps(y + i, mask, f(v));
    }
  }
}

}  // namespace

void exp_avx2(const ElementwiseArgs& a) {
  each(a, [](__m256 v) { return exp8(v); });
}

void silu_avx2(const ElementwiseArgs& a) {
  each(a, [](__m256 v) { return silu8(v); });
}

void softplus_avx2(const ElementwiseArgs& a) {
  each(a, [](__m256 v) { return softplus8(v); });
}

void gelu_avx2(const ElementwiseArgs& a) {
  each(a, [](__m256 v) { return gelu8(v); });
}

void relu2_avx2(const ElementwiseArgs& a) {
  each(a, [](__m256 v) {
    const __m256 positive = _mm256_max_ps(_mm256_setzero_ps(), v);  // v where it is NaN
    return _mm256_mul_ps(positive, positive);
  });
}

}  // namespace klens::cpu
