// For attention_avx512.cpp only: what attention_simd.h computes with, sixteen floats at a time, and
// the element types of a KV cache. See kernels/README.md.
#pragma once
#include "kernels/cpu/tile_avx512.h"

namespace klens::cpu {
namespace {

using Vec = __m512;
constexpr int kLanes = 16;

inline Vec load(const float* p) { return _mm512_loadu_ps(p); }
inline Vec load_left(const float* p, int64_t left) { return load16(p, first_lanes16(left)); }
inline void store(float* p, Vec v) { _mm512_storeu_ps(p, v); }
inline void store_left(float* p, int64_t left, Vec v) { store16(p, first_lanes16(left), v); }
inline Vec each(float x) { return _mm512_set1_ps(x); }
inline Vec add(Vec a, Vec b) { return _mm512_add_ps(a, b); }
inline Vec subtract(Vec a, Vec b) { return _mm512_sub_ps(a, b); }
inline Vec times(Vec a, Vec b) { return _mm512_mul_ps(a, b); }
inline Vec divide(Vec a, Vec b) { return _mm512_div_ps(a, b); }
inline Vec greater(Vec a, Vec b) { return _mm512_max_ps(a, b); }
// The limit where v is no number.
inline Vec limited(Vec v, Vec limit) { return _mm512_min_ps(v, limit); }
inline Vec multiply_add(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
inline Vec exp_negative(Vec v) { return exp_negative16(v); }
inline float sum_of(Vec v) { return sum_lanes16(v); }
inline float greatest_of(Vec v) { return max_lanes16(v); }
inline void transpose(Vec (&v)[kLanes]) { transpose16(v); }

// The sums of sixteen registers, side by side.
inline Vec sums_of(const Vec (&v)[kLanes]) {
  __m512 quad[4];  // lane l: the sums of lane l of four registers
  for (int i = 0; i < 4; ++i) {
    const Vec* at = v + 4 * i;
    const __m512d a = _mm512_castps_pd(
        _mm512_add_ps(_mm512_unpacklo_ps(at[0], at[1]), _mm512_unpackhi_ps(at[0], at[1])));
    const __m512d b = _mm512_castps_pd(
        _mm512_add_ps(_mm512_unpacklo_ps(at[2], at[3]), _mm512_unpackhi_ps(at[2], at[3])));
    quad[i] = _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(a, b)),
                            _mm512_castpd_ps(_mm512_unpackhi_pd(a, b)));
  }
  const __m512 low = _mm512_add_ps(_mm512_shuffle_f32x4(quad[0], quad[1], 0x88),
                                   _mm512_shuffle_f32x4(quad[0], quad[1], 0xdd));
  const __m512 high = _mm512_add_ps(_mm512_shuffle_f32x4(quad[2], quad[3], 0x88),
                                    _mm512_shuffle_f32x4(quad[2], quad[3], 0xdd));
  return _mm512_add_ps(_mm512_shuffle_f32x4(low, high, 0x88),
                       _mm512_shuffle_f32x4(low, high, 0xdd));
}

// Sixteen elements of a row as floats, and those of a tail with zeros after them.
struct KvF32 {
  static constexpr int64_t kBytes = 4;
  static constexpr bool kScaled = false;
  static inline Vec load(const uint8_t* p) { return _mm512_loadu_ps(p); }
  static inline Vec load(const uint8_t* p, __mmask16 mask) {
    return _mm512_maskz_loadu_ps(mask, p);
  }
};

struct KvF16 {
  static constexpr int64_t kBytes = 2;
  static constexpr bool kScaled = false;
  static inline Vec load(const uint8_t* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static inline Vec load(const uint8_t* p, __mmask16 mask) {
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, p));
  }
};

struct KvI8 {
  static constexpr int64_t kBytes = 1;
  static constexpr bool kScaled = true;
  static inline Vec load(const uint8_t* p) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes));
  }
  static inline Vec load(const uint8_t* p, __mmask16 mask) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(mask, p)));
  }
};

// Sixteen elements from `left` before the end of the row.
template <class T>
inline Vec load_row(const uint8_t* p, int64_t left) {
  return left >= kLanes ? T::load(p) : T::load(p, first_lanes16(left));
}

}  // namespace
}  // namespace klens::cpu
