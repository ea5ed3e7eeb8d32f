// For attention_avx2.cpp only: what attention_simd.h computes with, eight floats at a time, and the
// element types of a KV cache. See kernels/README.md.
#pragma once
#include "kernels/cpu/tile_avx2.h"

namespace klens::cpu {
namespace {

using Vec = __m256;
constexpr int kLanes = 8;

inline Vec load(const float* p) { return _mm256_loadu_ps(p); }
inline Vec load_left(const float* p, int64_t left) {
  return left >= kLanes ? load(p) : _mm256_maskload_ps(p, first_lanes(left));
}
inline void store(float* p, Vec v) { _mm256_storeu_ps(p, v); }
inline void store_left(float* p, int64_t left, Vec v) {
  if (left >= kLanes) return store(p, v);
  _mm256_maskstore_ps(p, first_lanes(left), v);
}
inline Vec each(float x) { return _mm256_set1_ps(x); }
inline Vec add(Vec a, Vec b) { return _mm256_add_ps(a, b); }
inline Vec subtract(Vec a, Vec b) { return _mm256_sub_ps(a, b); }
inline Vec times(Vec a, Vec b) { return _mm256_mul_ps(a, b); }
inline Vec divide(Vec a, Vec b) { return _mm256_div_ps(a, b); }
inline Vec greater(Vec a, Vec b) { return _mm256_max_ps(a, b); }
// The limit where v is no number.
inline Vec limited(Vec v, Vec limit) { return _mm256_min_ps(v, limit); }
inline Vec multiply_add(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
inline Vec exp_negative(Vec v) { return exp_negative8(v); }
inline float sum_of(Vec v) { return sum_lanes(v); }
inline float greatest_of(Vec v) { return max_lanes(v); }
inline void transpose(Vec (&v)[kLanes]) { transpose8(v); }

// The sums of eight registers, side by side.
inline Vec sums_of(const Vec (&v)[kLanes]) {
  const __m256 a = _mm256_hadd_ps(_mm256_hadd_ps(v[0], v[1]), _mm256_hadd_ps(v[2], v[3]));
  const __m256 b = _mm256_hadd_ps(_mm256_hadd_ps(v[4], v[5]), _mm256_hadd_ps(v[6], v[7]));
  return _mm256_add_ps(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31));
}

// Eight elements of a row as floats, and fewer than eight with zeros after them.
struct KvF32 {
  static constexpr int64_t kBytes = 4;
  static constexpr bool kScaled = false;
  static inline Vec load(const uint8_t* p) {
    return _mm256_loadu_ps(reinterpret_cast<const float*>(p));
  }
};

struct KvF16 {
  static constexpr int64_t kBytes = 2;
  static constexpr bool kScaled = false;
  static inline Vec load(const uint8_t* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
};

struct KvI8 {
  static constexpr int64_t kBytes = 1;
  static constexpr bool kScaled = true;
  static inline Vec load(const uint8_t* p) {
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes));
  }
};

// Eight elements from `left` before the end of the row.
template <class T>
inline Vec load_row(const uint8_t* p, int64_t left) {
  if (left >= kLanes) return T::load(p);
  uint8_t copy[kLanes * T::kBytes] = {};
  for (int64_t i = 0; i < left * T::kBytes; ++i) copy[i] = p[i];
  return T::load(copy);
}

}  // namespace
}  // namespace klens::cpu
