// Shared by *_avx2.cpp only: the element types of a KV cache. See kernels/README.md.
#pragma once
#include "kernels/cpu/avx2_math.h"

namespace klens::cpu {
namespace {

// Eight elements of a row as floats, and fewer than eight with zeros after them.
struct KvF32 {
  static constexpr int64_t kBytes = 4;
  static constexpr bool kScaled = false;
  static inline __m256 load(const uint8_t* p) {
    return _mm256_loadu_ps(reinterpret_cast<const float*>(p));
  }
};

struct KvF16 {
  static constexpr int64_t kBytes = 2;
  static constexpr bool kScaled = false;
  static inline __m256 load(const uint8_t* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
};

struct KvI8 {
  static constexpr int64_t kBytes = 1;
  static constexpr bool kScaled = true;
  static inline __m256 load(const uint8_t* p) {
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes));
  }
};

template <class T>
inline __m256 load_part(const uint8_t* p, int64_t count) {
  uint8_t copy[8 * T::kBytes] = {};
  for (int64_t i = 0; i < count * T::kBytes; ++i) copy[i] = p[i];
  return T::load(copy);
}

// Eight elements from `left` before the end of the row, times the row's scale if the type has one.
template <class T>
inline __m256 load_row(const uint8_t* p, int64_t left, float scale) {
  const __m256 v = left >= 8 ? T::load(p) : load_part<T>(p, left);
  return T::kScaled ? _mm256_mul_ps(v, _mm256_set1_ps(scale)) : v;
}

}  // namespace
}  // namespace klens::cpu
