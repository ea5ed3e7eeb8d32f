// Built with -mavx512f -mavx512bw -mavx512dq -mavx512vl and AVX2's flags. See kernels/README.md for
// the one rule of such files.
#include "kernels/cpu/attention/kv_cache.h"
#include "kernels/cpu/avx512_math.h"

namespace klens::cpu {

StoreKv store_kv_avx512;

namespace {

inline void store_f32(const float* x, int64_t dim, float* to) {
  int64_t i = 0;
  for (; i + 16 <= dim; i += 16) _mm512_storeu_ps(to + i, _mm512_loadu_ps(x + i));
  const __mmask16 rest = first_lanes16(dim - i);
  if (i < dim) store16(to + i, rest, load16(x + i, rest));
}

// Any NaN becomes the quiet one of its sign, as on the scalar row.
inline __m256i to_f16(__m512 x) {
  const __m512 max = _mm512_set1_ps(65504.0f), sign = _mm512_set1_ps(-0.0f);
  const __m512 clamped = _mm512_max_ps(_mm512_xor_ps(max, sign), _mm512_min_ps(max, x));
  const __m512 nan = _mm512_or_ps(_mm512_and_ps(x, sign), _mm512_set1_ps(__builtin_nanf("")));
  const __mmask16 is_nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
  return _mm512_cvtps_ph(_mm512_mask_mov_ps(clamped, is_nan, nan),
                         _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

inline void store_f16(const float* x, int64_t dim, uint16_t* to) {
  int64_t i = 0;
  for (; i + 16 <= dim; i += 16)
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + i), to_f16(_mm512_loadu_ps(x + i)));
  const __mmask16 rest = first_lanes16(dim - i);
  if (i < dim) _mm256_mask_storeu_epi16(to + i, rest, to_f16(load16(x + i, rest)));
}

inline float max_magnitude(const float* x, int64_t dim) {
  __m512 m = _mm512_setzero_ps();
  for (int64_t i = 0; i < dim; i += 16)
    m = _mm512_max_ps(m, _mm512_abs_ps(load16(x + i, first_lanes16(dim - i))));
  return max_lanes16(m);
}

// |x * factor| rounds to at most 127.
inline float store_i8(const float* x, int64_t dim, int8_t* to) {
  const float max = max_magnitude(x, dim);
  const bool zero = max < 0x1p-120f;
  const __m512 factor = _mm512_set1_ps(zero ? 0.0f : 127.0f / max);
  const auto quantised = [factor](__m512 v) {
    return _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(_mm512_mul_ps(v, factor)));
  };
  int64_t i = 0;
  for (; i + 16 <= dim; i += 16)
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i), quantised(_mm512_loadu_ps(x + i)));
  const __mmask16 rest = first_lanes16(dim - i);
  if (i < dim) _mm_mask_storeu_epi8(to + i, rest, quantised(load16(x + i, rest)));
  return zero ? 0.0f : max / 127.0f;
}

}  // namespace

void store_kv_avx512(const StoreKvArgs& a) {
  for (int64_t r = 0; r < a.rows; ++r)
    for (int64_t h = 0; h < a.heads; ++h) {
      const float* x = a.x + r * a.x_stride + h * a.dim;
      const int64_t row = r * a.heads + h, at = row * a.dim;
      switch (a.type) {
        case KvType::kF32:
          store_f32(x, a.dim, static_cast<float*>(a.to) + at);
          break;
        case KvType::kF16:
          store_f16(x, a.dim, static_cast<uint16_t*>(a.to) + at);
          break;
        case KvType::kI8:
          a.scale[row] = store_i8(x, a.dim, static_cast<int8_t*>(a.to) + at);
          break;
      }
    }
}

}  // namespace klens::cpu
