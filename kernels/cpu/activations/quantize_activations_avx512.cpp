// Built with -mavx512f -mavx512bw -mavx512dq -mavx512vl and AVX2's flags. See kernels/README.md for
// the one rule of such files.
#include "kernels/cpu/activations/quantize_activations.h"
#include "kernels/cpu/avx512_math.h"

namespace klens::cpu {

QuantizeActivations quantize_activations_avx512;

namespace {

// Sixteen floats of a row; zeros beyond its end.
inline __m512 load_left(const float* x, int64_t left) {
  return load16(x, first_lanes16(left < 0 ? 0 : left));
}

inline __m512 larger(__m512 m, __m512 x) { return _mm512_max_ps(m, _mm512_abs_ps(x)); }

inline float max_magnitude(const float* x, int64_t cols) {
  __m512 m0 = _mm512_setzero_ps(), m1 = m0;
  int64_t i = 0;
  for (; i + 64 <= cols; i += 64) {
    m0 = larger(larger(m0, _mm512_loadu_ps(x + i)), _mm512_loadu_ps(x + i + 16));
    m1 = larger(larger(m1, _mm512_loadu_ps(x + i + 32)), _mm512_loadu_ps(x + i + 48));
  }
  for (; i < cols; i += 16) m0 = larger(m0, load_left(x + i, cols - i));
  return max_lanes16(_mm512_max_ps(m0, m1));
}

// Stores 16 q.
inline __m512i quantize(__m512 x, __m512 factor, int8_t* q) {
  const __m512i rounded = _mm512_cvtps_epi32(_mm512_mul_ps(x, factor));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(q), _mm512_cvtepi32_epi8(rounded));
  return rounded;
}

inline int32_t sum_lanes_i32(__m512i v) {
  const __m256i half = _mm256_add_epi32(_mm512_castsi512_si256(v), _mm512_extracti64x4_epi64(v, 1));
  __m128i s = _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
  s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
  s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1));
  return _mm_cvtsi128_si32(s);
}

// q of one group, written up to a multiple of 32; returns their sum. |x * factor| rounds to at most
// 127 because factor is 127 / max rounded, so no clamp is needed.
inline int32_t quantize_group(const float* x, int64_t cols, float factor, int8_t* q) {
  const __m512 f = _mm512_set1_ps(factor);
  __m512i s0 = _mm512_setzero_si512(), s1 = s0;
  int64_t i = 0;
  for (; i + 32 <= cols; i += 32) {
    s0 = _mm512_add_epi32(s0, quantize(_mm512_loadu_ps(x + i), f, q + i));
    s1 = _mm512_add_epi32(s1, quantize(_mm512_loadu_ps(x + i + 16), f, q + i + 16));
  }
  if (i < cols) {
    s0 = _mm512_add_epi32(s0, quantize(load_left(x + i, cols - i), f, q + i));
    s1 = _mm512_add_epi32(s1, quantize(load_left(x + i + 16, cols - i - 16), f, q + i + 16));
  }
  return sum_lanes_i32(_mm512_add_epi32(s0, s1));
}

}  // namespace

// A token's maxima come before its rounding: either by itself is short enough for a core to work on
// many groups at once, and the row is in L1 the second time.
void quantize_activations_avx512(const QuantizeActivationsArgs& a) {
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
