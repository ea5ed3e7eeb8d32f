// Built with -mavx2 -mfma -mf16c. See kernels/README.md for the one rule of such files.
#include "kernels/cpu/activations/quantize_activations.h"
#include "kernels/cpu/avx2_math.h"

namespace klens::cpu {

QuantizeActivations quantize_activations_avx2;

namespace {

// Eight floats of a row; zeros beyond its end.
inline __m256 load_left(const float* x, int64_t left) {
  if (left >= 8) return _mm256_loadu_ps(x);
  if (left <= 0) return _mm256_setzero_ps();
  return _mm256_maskload_ps(x, first_lanes(left));
}

inline int32_t sum_lanes_i32(__m256i v) {
  __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
  s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1));
  return _mm_cvtsi128_si32(s);
}

inline float max_magnitude(const float* x, int64_t cols) {
  const __m256 magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
  __m256 m0 = _mm256_setzero_ps(), m1 = m0;
  int64_t i = 0;
  for (; i + 16 <= cols; i += 16) {
    m0 = _mm256_max_ps(m0, _mm256_and_ps(magnitude, _mm256_loadu_ps(x + i)));
    m1 = _mm256_max_ps(m1, _mm256_and_ps(magnitude, _mm256_loadu_ps(x + i + 8)));
  }
  for (; i < cols; i += 8)
    m0 = _mm256_max_ps(m0, _mm256_and_ps(magnitude, load_left(x + i, cols - i)));
  return max_lanes(_mm256_max_ps(m0, m1));
}

// q of one group, written up to a multiple of 32; returns their sum. |x * factor| rounds to at most
// 127 because factor is 127 / max rounded, so no clamp is needed.
inline int32_t quantize_group(const float* x, int64_t cols, float factor, int8_t* q) {
  const __m256 f = _mm256_set1_ps(factor);
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);  // undoes packs' lane order
  __m256i sum = _mm256_setzero_si256();
  for (int64_t i = 0; i < cols; i += 32) {
    const int64_t left = cols - i;
    const __m256i q0 = _mm256_cvtps_epi32(_mm256_mul_ps(load_left(x + i, left), f));
    const __m256i q1 = _mm256_cvtps_epi32(_mm256_mul_ps(load_left(x + i + 8, left - 8), f));
    const __m256i q2 = _mm256_cvtps_epi32(_mm256_mul_ps(load_left(x + i + 16, left - 16), f));
    const __m256i q3 = _mm256_cvtps_epi32(_mm256_mul_ps(load_left(x + i + 24, left - 24), f));
    const __m256i s01 = _mm256_add_epi32(q0, q1), s23 = _mm256_add_epi32(q2, q3);
    sum = _mm256_add_epi32(sum, _mm256_add_epi32(s01, s23));
    const __m256i bytes =
        _mm256_packs_epi16(_mm256_packs_epi32(q0, q1), _mm256_packs_epi32(q2, q3));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(q + i),
                        _mm256_permutevar8x32_epi32(bytes, order));
  }
  return sum_lanes_i32(sum);
}

}  // namespace

// A token's maxima come before its rounding: either by itself is short enough for a core to work on
// many groups at once, and the row is in L1 the second time.
void quantize_activations_avx2(const QuantizeActivationsArgs& a) {
  const int64_t groups = (a.cols + a.group - 1) / a.group;
  for (int64_t t = 0; t < a.tokens; ++t) {
    const float* x = a.x + t * a.x_stride;
    float* scale = a.scale + t * groups;
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t begin = g * a.group, left = a.cols - begin;
      scale[g] = max_magnitude(x + begin, left < a.group ? left : a.group);
    }
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t begin = g * a.group, left = a.cols - begin;
      const float max = scale[g];
      const bool zero = max < kQuantizeActivationsFloor;
      scale[g] = zero ? 0.0f : max / 127.0f;
      a.sum[t * groups + g] =
          quantize_group(x + begin, left < a.group ? left : a.group, zero ? 0.0f : 127.0f / max,
                         a.q + t * a.q_stride + begin);
    }
  }
}

}  // namespace klens::cpu
