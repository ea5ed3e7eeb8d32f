// For *_avx2.cpp only: the words that *_simd.h is written in, for eight floats at a time;
// vec_avx512.h has the same words for sixteen. Everything here is internal to the file that
// includes it, so the linker can never hand an AVX2 copy to baseline code.
#pragma once
#include <immintrin.h>

#include <cstdint>

namespace klens::cpu {
namespace {

using Vec = __m256;
using Ints = __m256i;
using Which = __m256;   // where a comparison holds
using Lanes = __m256i;  // those of a tail
struct AllLanes {};
constexpr int kLanes = 8;

// On AMD a masked store costs as much as twelve plain ones, so over() masks tails alone.
constexpr bool kMasksAreFree = false;

// ---- Memory

alignas(64) constexpr int32_t kLaneMask[16] = {-1, -1, -1, -1, -1, -1, -1, -1,
                                               0,  0,  0,  0,  0,  0,  0,  0};

// Selects the first `lanes` (0 to 8) of eight.
inline Lanes first_lanes(int64_t lanes) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kLaneMask + 8 - lanes));
}

// The lanes that a vector starting `left` elements before the end of a row may touch.
inline Lanes lanes_left(int64_t left) { return first_lanes(left < 8 ? left : 8); }

// Those outside `lanes` are zeros.
inline Vec load(const float* p) { return _mm256_loadu_ps(p); }
inline Vec load(const float* p, AllLanes) { return load(p); }
inline Vec load(const float* p, Lanes lanes) { return _mm256_maskload_ps(p, lanes); }
inline Vec load_left(const float* p, int64_t left) {
  return left >= kLanes ? load(p) : load(p, first_lanes(left));
}
inline void store(float* p, Vec v) { _mm256_storeu_ps(p, v); }
inline void store(float* p, AllLanes, Vec v) { store(p, v); }
inline void store(float* p, Lanes lanes, Vec v) { _mm256_maskstore_ps(p, lanes, v); }
inline void store_left(float* p, int64_t left, Vec v) {
  if (left >= kLanes) return store(p, v);
  store(p, first_lanes(left), v);
}

// The first `left` elements of a vector, of any length: there are no masks for short ones, so they
// are copied.
using Tail = int64_t;
inline Tail tail_of(int64_t left) { return left; }
inline Vec load(const float* p, Tail left) { return load(p, first_lanes(left)); }
template <class T>
inline void copy_some(T* to, const T* from, int64_t count) {
  for (int64_t i = 0; i < count; ++i) to[i] = from[i];
}

// FP16, to the nearest.
inline Vec load_halves(const uint8_t* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
inline Vec load_halves(const uint8_t* p, Tail left) {
  uint8_t copy[2 * kLanes] = {};
  copy_some(copy, p, 2 * left);
  return load_halves(copy);
}
inline void store_halves(uint16_t* p, Vec v) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                   _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
inline void store_halves(uint16_t* p, Tail left, Vec v) {
  uint16_t copy[kLanes];
  store_halves(copy, v);
  copy_some(p, copy, left);
}

// INT8; what is stored is in its range.
inline Vec load_bytes(const uint8_t* p) {
  const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes));
}
inline Vec load_bytes(const uint8_t* p, Tail left) {
  uint8_t copy[kLanes] = {};
  copy_some(copy, p, left);
  return load_bytes(copy);
}
inline void store_bytes(int8_t* p, Ints v) {
  const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packs_epi16(words, words));
}
inline void store_bytes(int8_t* p, Tail left, Ints v) {
  int8_t copy[kLanes];
  store_bytes(copy, v);
  copy_some(p, copy, left);
}
inline void store_32_bytes(int8_t* p, const Ints (&v)[4]) {
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);  // undoes packs' lane order
  const __m256i bytes =
      _mm256_packs_epi16(_mm256_packs_epi32(v[0], v[1]), _mm256_packs_epi32(v[2], v[3]));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm256_permutevar8x32_epi32(bytes, order));
}

// ---- Lane by lane. Of greater() and lesser() the second is the result where one is NaN.

inline Vec each(float x) { return _mm256_set1_ps(x); }
inline Vec add(Vec a, Vec b) { return _mm256_add_ps(a, b); }
inline Vec subtract(Vec a, Vec b) { return _mm256_sub_ps(a, b); }
inline Vec times(Vec a, Vec b) { return _mm256_mul_ps(a, b); }
inline Vec square_root(Vec v) { return _mm256_sqrt_ps(v); }
inline Vec divide(Vec a, Vec b) { return _mm256_div_ps(a, b); }
inline Vec greater(Vec a, Vec b) { return _mm256_max_ps(a, b); }
inline Vec lesser(Vec a, Vec b) { return _mm256_min_ps(a, b); }
inline Vec multiply_add(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }       // a b + c
inline Vec multiply_subtract(Vec a, Vec b, Vec c) { return _mm256_fmsub_ps(a, b, c); }  // a b - c
inline Vec subtract_from(Vec a, Vec b, Vec c) { return _mm256_fnmadd_ps(a, b, c); }     // c - a b

inline Vec magnitude(Vec v) { return _mm256_andnot_ps(each(-0.0f), v); }
inline Vec negative_magnitude(Vec v) { return _mm256_or_ps(v, each(-0.0f)); }
// v, a magnitude, with the sign of s.
inline Vec with_sign(Vec v, Vec s) { return _mm256_or_ps(_mm256_and_ps(s, each(-0.0f)), v); }

inline Which less(Vec a, Vec b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
inline Which not_less(Vec a, Vec b) { return _mm256_cmp_ps(a, b, _CMP_NLT_UQ); }
inline Which not_up_to(Vec a, Vec b) { return _mm256_cmp_ps(a, b, _CMP_NLE_UQ); }
inline Which is_nan(Vec v) { return _mm256_cmp_ps(v, v, _CMP_UNORD_Q); }
inline Vec where(Which which, Vec yes, Vec no) { return _mm256_blendv_ps(no, yes, which); }

// a, and in `lanes` a + b or greater(a, b).
inline Vec add_in(AllLanes, Vec a, Vec b) { return add(a, b); }
inline Vec add_in(Lanes lanes, Vec a, Vec b) {
  return add(a, _mm256_and_ps(b, _mm256_castsi256_ps(lanes)));
}
inline Vec greater_in(Lanes lanes, Vec a, Vec b) {
  return greater(a, where(_mm256_castsi256_ps(lanes), b, a));
}

// v times two to the power of the integer in the low bits of `power`; zero but for `which`.
inline Vec scale_by_power(Which which, Vec v, Vec power) {
  const __m256i exponent = _mm256_slli_epi32(_mm256_castps_si256(power), 23);
  const __m256i bits = _mm256_add_epi32(_mm256_castps_si256(v), exponent);
  return _mm256_and_ps(which, _mm256_castsi256_ps(bits));
}

inline Ints no_ints() { return _mm256_setzero_si256(); }
inline Ints rounded(Vec v) { return _mm256_cvtps_epi32(v); }
inline Ints add(Ints a, Ints b) { return _mm256_add_epi32(a, b); }

// ---- All lanes

inline float sum_of(Vec v) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

inline float greatest_of(Vec v) {
  __m128 m = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  m = _mm_max_ps(m, _mm_movehl_ps(m, m));
  return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
}

inline int32_t sum_of(Ints v) {
  __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
  s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1));
  return _mm_cvtsi128_si32(s);
}

// The sums of eight registers, side by side.
inline Vec sums_of(const Vec (&v)[kLanes]) {
  const __m256 a = _mm256_hadd_ps(_mm256_hadd_ps(v[0], v[1]), _mm256_hadd_ps(v[2], v[3]));
  const __m256 b = _mm256_hadd_ps(_mm256_hadd_ps(v[4], v[5]), _mm256_hadd_ps(v[6], v[7]));
  return _mm256_add_ps(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31));
}

// Rows of eight floats to columns.
inline void transpose(Vec (&v)[kLanes]) {
  __m256 pair[8];  // 2 x 2 blocks, then 4 x 4, then halves
  for (int i = 0; i < 8; i += 2) {
    pair[i] = _mm256_unpacklo_ps(v[i], v[i + 1]);
    pair[i + 1] = _mm256_unpackhi_ps(v[i], v[i + 1]);
  }
  for (int i = 0; i < 4; ++i) {
    const int at = i / 2 * 4 + i % 2;  // 0 1 4 5
    const __m256 a = pair[at], b = pair[at + 2];
    v[2 * i] = _mm256_shuffle_ps(a, b, 0x44);
    v[2 * i + 1] = _mm256_shuffle_ps(a, b, 0xee);
  }
  for (int i = 0; i < 4; ++i) {
    const __m256 low = v[i], high = v[i + 4];
    v[i] = _mm256_permute2f128_ps(low, high, 0x20);
    v[i + 4] = _mm256_permute2f128_ps(low, high, 0x31);
  }
}

// ---- Eight floats in FP64

struct Doubles {
  __m256d low = _mm256_setzero_pd(), high = _mm256_setzero_pd();
};

inline Doubles doubles(Vec v) {
  return {_mm256_cvtps_pd(_mm256_castps256_ps128(v)), _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1))};
}
inline Doubles load_doubles(const float* p) { return doubles(load(p)); }
inline Doubles load_doubles(const float* p, int64_t left) {
  return doubles(load(p, lanes_left(left)));
}
inline Doubles add(const Doubles& a, const Doubles& b) {
  return {_mm256_add_pd(a.low, b.low), _mm256_add_pd(a.high, b.high)};
}
inline Doubles add(const Doubles& sum, Vec v) { return add(sum, doubles(v)); }
inline Doubles multiply_add(const Doubles& a, const Doubles& b, const Doubles& c) {
  return {_mm256_fmadd_pd(a.low, b.low, c.low), _mm256_fmadd_pd(a.high, b.high, c.high)};
}
inline double sum_of(const Doubles& v) {
  const __m256d four = _mm256_add_pd(v.low, v.high);
  const __m128d pair = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
  return _mm_cvtsd_f64(_mm_add_sd(pair, _mm_unpackhi_pd(pair, pair)));
}

}  // namespace
}  // namespace klens::cpu

// What is made of these words.
#include "kernels/cpu/math_simd.h"
