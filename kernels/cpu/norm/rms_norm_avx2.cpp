// Built with -mavx2 -mfma -mf16c. See kernels/README.md for the one rule of such files.
#include "kernels/cpu/avx2_math.h"
#include "kernels/cpu/norm/rms_norm.h"

namespace klens::cpu {

RmsNorm rms_norm_avx2;

namespace {

struct Sums {
  __m256d low, high;
};

inline void square_and_add(__m256 x, Sums& sums) {
  const __m256d low = _mm256_cvtps_pd(_mm256_castps256_ps128(x));
  const __m256d high = _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1));
  sums.low = _mm256_fmadd_pd(low, low, sums.low);
  sums.high = _mm256_fmadd_pd(high, high, sums.high);
}

// In FP64: an error of the sum is one of all the outputs together, which deep models amplify. Eight
// chains, or their latency would be the time.
inline double sum_of_squares(const float* x, int64_t cols) {
  const __m256d zero = _mm256_setzero_pd();
  Sums s0 = {zero, zero}, s1 = s0, s2 = s0, s3 = s0;
  int64_t i = 0;
  for (; i + 32 <= cols; i += 32) {
    square_and_add(_mm256_loadu_ps(x + i), s0);
    square_and_add(_mm256_loadu_ps(x + i + 8), s1);
    square_and_add(_mm256_loadu_ps(x + i + 16), s2);
    square_and_add(_mm256_loadu_ps(x + i + 24), s3);
  }
  for (; i < cols; i += 8) square_and_add(_mm256_maskload_ps(x + i, lanes_left(cols - i)), s0);
  const __m256d low = _mm256_add_pd(_mm256_add_pd(s0.low, s1.low), _mm256_add_pd(s2.low, s3.low));
  const __m256d high =
      _mm256_add_pd(_mm256_add_pd(s0.high, s1.high), _mm256_add_pd(s2.high, s3.high));
  const __m256d s = _mm256_add_pd(low, high);
  const __m128d pair = _mm_add_pd(_mm256_castpd256_pd128(s), _mm256_extractf128_pd(s, 1));
  return _mm_cvtsd_f64(_mm_add_sd(pair, _mm_unpackhi_pd(pair, pair)));
}

}  // namespace

void rms_norm_avx2(const RmsNormArgs& a) {
  for (int64_t t = 0; t < a.tokens; ++t) {
    const float* x = a.x + t * a.x_stride;
    float* y = a.y + t * a.y_stride;
    const double mean = sum_of_squares(x, a.cols) / static_cast<double>(a.cols);
    const __m128d root = _mm_sqrt_pd(_mm_set1_pd(mean + static_cast<double>(a.epsilon)));
    const __m256 factor = _mm256_set1_ps(static_cast<float>(1 / _mm_cvtsd_f64(root)));
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
