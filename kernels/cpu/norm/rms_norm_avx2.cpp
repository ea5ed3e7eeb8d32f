// Built with -mavx2 -mfma -mf16c. See kernels/README.md for the one rule of such files.
#include "kernels/cpu/avx2_math.h"
#include "kernels/cpu/norm/rms_norm.h"

namespace klens::cpu {

RmsNorm rms_norm_avx2;

namespace {

// Four sums side by side hide the latency of the multiply-add and shorten the chains that round.
inline float sum_of_squares(const float* x, int64_t cols) {
  __m256 s0 = _mm256_setzero_ps(), s1 = s0, s2 = s0, s3 = s0;
  int64_t i = 0;
  for (; i + 32 <= cols; i += 32) {
    const __m256 x0 = _mm256_loadu_ps(x + i), x1 = _mm256_loadu_ps(x + i + 8);
    const __m256 x2 = _mm256_loadu_ps(x + i + 16), x3 = _mm256_loadu_ps(x + i + 24);
    s0 = _mm256_fmadd_ps(x0, x0, s0);
    s1 = _mm256_fmadd_ps(x1, x1, s1);
    s2 = _mm256_fmadd_ps(x2, x2, s2);
    s3 = _mm256_fmadd_ps(x3, x3, s3);
  }
  for (; i < cols; i += 8) {
    const __m256 v = _mm256_maskload_ps(x + i, lanes_left(cols - i));
    s0 = _mm256_fmadd_ps(v, v, s0);
  }
  return sum_lanes(_mm256_add_ps(_mm256_add_ps(s0, s1), _mm256_add_ps(s2, s3)));
}

}  // namespace

void rms_norm_avx2(const RmsNormArgs& a) {
  for (int64_t t = 0; t < a.tokens; ++t) {
    const float* x = a.x + t * a.x_stride;
    float* y = a.y + t * a.y_stride;
    const float mean = sum_of_squares(x, a.cols) / static_cast<float>(a.cols);
    const __m256 factor =
        _mm256_div_ps(_mm256_set1_ps(1.0f), _mm256_sqrt_ps(_mm256_set1_ps(mean + a.epsilon)));
    int64_t i = 0;
    for (; i + 8 <= a.cols; i += 8) {
      __m256 v = _mm256_mul_ps(_mm256_loadu_ps(x + i), factor);
      if (a.weight != nullptr) v = _mm256_mul_ps(v, _mm256_loadu_ps(a.weight + i));
      _mm256_storeu_ps(y + i, v);
    }
    if (i < a.cols) {
      const __m256i mask = first_lanes(a.cols - i);
      __m256 v = _mm256_mul_ps(_mm256_maskload_ps(x + i, mask), factor);
      if (a.weight != nullptr) v = _mm256_mul_ps(v, _mm256_maskload_ps(a.weight + i, mask));
      _mm256_maskstore_ps(y + i, mask, v);
    }
  }
}

}  // namespace klens::cpu
