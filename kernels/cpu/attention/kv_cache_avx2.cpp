// Built with -mavx2 -mfma -mf16c. See kernels/README.md for the one rule of such files.
#include "kernels/cpu/attention/kv_cache.h"
#include "kernels/cpu/avx2_math.h"

namespace klens::cpu {

StoreKv store_kv_avx2;

namespace {

// Eight floats of a row, or those left with zeros after them.
inline __m256 load_left(const float* x, int64_t left) {
  return left >= 8 ? _mm256_loadu_ps(x) : _mm256_maskload_ps(x, first_lanes(left));
}

template <class T>
inline void copy_part(T* to, const T* from, int64_t count) {
  for (int64_t i = 0; i < count; ++i) to[i] = from[i];
}

inline void store_f32(const float* x, int64_t dim, float* to) {
  int64_t i = 0;
  for (; i + 8 <= dim; i += 8) _mm256_storeu_ps(to + i, _mm256_loadu_ps(x + i));
  if (i < dim) _mm256_maskstore_ps(to + i, first_lanes(dim - i), load_left(x + i, dim - i));
}

// Any NaN becomes the quiet one of its sign, as on the scalar row.
inline __m128i to_f16(__m256 x) {
  const __m256 max = _mm256_set1_ps(65504.0f), sign = _mm256_set1_ps(-0.0f);
  const __m256 clamped = _mm256_max_ps(_mm256_xor_ps(max, sign), _mm256_min_ps(max, x));
  const __m256 nan = _mm256_or_ps(_mm256_and_ps(x, sign), _mm256_set1_ps(__builtin_nanf("")));
  const __m256 kept = _mm256_blendv_ps(clamped, nan, _mm256_cmp_ps(x, x, _CMP_UNORD_Q));
  return _mm256_cvtps_ph(kept, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

inline void store_f16(const float* x, int64_t dim, uint16_t* to) {
  int64_t i = 0;
  for (; i + 8 <= dim; i += 8)
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i), to_f16(_mm256_loadu_ps(x + i)));
  if (i < dim) {
    uint16_t part[8];
    _mm_storeu_si128(reinterpret_cast<__m128i*>(part), to_f16(load_left(x + i, dim - i)));
    copy_part(to + i, part, dim - i);
  }
}

inline float max_magnitude(const float* x, int64_t dim) {
  const __m256 magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
  __m256 m = _mm256_setzero_ps();
  for (int64_t i = 0; i < dim; i += 8)
    m = _mm256_max_ps(m, _mm256_and_ps(magnitude, load_left(x + i, dim - i)));
  return max_lanes(m);
}

// |x * factor| rounds to at most 127, so packing never saturates.
inline float store_i8(const float* x, int64_t dim, int8_t* to) {
  const float max = max_magnitude(x, dim);
  const bool zero = max < 0x1p-120f;
  const __m256 factor = _mm256_set1_ps(zero ? 0.0f : 127.0f / max);
  for (int64_t i = 0; i < dim; i += 8) {
    const __m256i q = _mm256_cvtps_epi32(_mm256_mul_ps(load_left(x + i, dim - i), factor));
    const __m128i words =
        _mm_packs_epi32(_mm256_castsi256_si128(q), _mm256_extracti128_si256(q, 1));
    const __m128i bytes = _mm_packs_epi16(words, words);
    if (i + 8 <= dim) {
      _mm_storel_epi64(reinterpret_cast<__m128i*>(to + i), bytes);
    } else {
      int8_t part[16];
      _mm_storeu_si128(reinterpret_cast<__m128i*>(part), bytes);
      copy_part(to + i, part, dim - i);
    }
  }
  return zero ? 0.0f : max / 127.0f;
}

}  // namespace

void store_kv_avx2(const StoreKvArgs& a) {
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
