// Built with -mavx512f -mavx512bw -mavx512dq -mavx512vl and AVX2's flags. See kernels/README.md for
// the one rule of such files.
#include "kernels/cpu/avx512_math.h"
#include "kernels/cpu/norm/rms_norm.h"

namespace klens::cpu {

RmsNorm rms_norm_avx512;

namespace {

inline __m512d square_and_add(const float* x, int64_t left, __m512d sum) {
  const __mmask8 mask = static_cast<__mmask8>(first_lanes16(left));
  const __m512d v = _mm512_cvtps_pd(_mm256_maskz_loadu_ps(mask, x));
  return _mm512_fmadd_pd(v, v, sum);
}

// In FP64: an error of the sum is one of all the outputs together, which deep models amplify.
inline double sum_of_squares(const float* x, int64_t cols) {
  __m512d sum[4] = {_mm512_setzero_pd(), _mm512_setzero_pd(), _mm512_setzero_pd(),
                    _mm512_setzero_pd()};
  int64_t i = 0;
  for (; i + 32 <= cols; i += 32)
    for (int j = 0; j < 4; ++j) sum[j] = square_and_add(x + i + 8 * j, 8, sum[j]);
  for (; i < cols; i += 8) sum[0] = square_and_add(x + i, cols - i, sum[0]);
  const __m512d s = _mm512_add_pd(_mm512_add_pd(sum[0], sum[1]), _mm512_add_pd(sum[2], sum[3]));
  const __m256d half = _mm256_add_pd(_mm512_castpd512_pd256(s), _mm512_extractf64x4_pd(s, 1));
  const __m128d pair = _mm_add_pd(_mm256_castpd256_pd128(half), _mm256_extractf128_pd(half, 1));
  return _mm_cvtsd_f64(_mm_add_sd(pair, _mm_unpackhi_pd(pair, pair)));
}

}  // namespace

void rms_norm_avx512(const RmsNormArgs& a) {
  for (int64_t t = 0; t < a.tokens; ++t) {
    const float* x = a.x + t * a.x_stride;
    float* y = a.y + t * a.y_stride;
    const double mean = sum_of_squares(x, a.cols) / static_cast<double>(a.cols);
    const __m128d root = _mm_sqrt_pd(_mm_set1_pd(mean + static_cast<double>(a.epsilon)));
    const __m512 factor = _mm512_set1_ps(static_cast<float>(1 / _mm_cvtsd_f64(root)));
    for (int64_t i = 0; i < a.cols; i += 16) {
      const __mmask16 mask = first_lanes16(a.cols - i);
      __m512 v = _mm512_mul_ps(load16(x + i, mask), factor);
      if (a.weight != nullptr) v = _mm512_mul_ps(v, load16(a.weight + i, mask));
      store16(y + i, mask, v);
    }
  }
}

}  // namespace klens::cpu
