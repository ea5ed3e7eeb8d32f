// For *_avx512*.cpp only: the words that *_simd.h is written in, for sixteen floats at a time;
// vec_avx2.h has the same words for eight. Everything here is internal to the file that includes
// it, so the linker can never hand an AVX-512 copy to baseline code.
#pragma once
#include <immintrin.h>

#include <cstdint>

namespace klens::cpu {
namespace {

using Vec = __m512;
using Ints = __m512i;
using Which = __mmask16;  // where a comparison holds
using Lanes = __mmask16;
struct AllLanes {};
constexpr int kLanes = 16;

constexpr bool kMasksAreFree = true;

// ---- Memory

// Selects the first `lanes` of sixteen: all of them from sixteen on.
inline Lanes first_lanes(int64_t lanes) {
  return static_cast<Lanes>(lanes < 16 ? (1u << lanes) - 1 : 0xffffu);
}

// Those outside `lanes` are zeros.
inline Vec load(const float* p) { return _mm512_loadu_ps(p); }
inline Vec load(const float* p, AllLanes) { return load(p); }
inline Vec load(const float* p, Lanes lanes) { return _mm512_maskz_loadu_ps(lanes, p); }
inline Vec load_left(const float* p, int64_t left) { return load(p, first_lanes(left)); }
inline void store(float* p, Vec v) { _mm512_storeu_ps(p, v); }
inline void store(float* p, AllLanes, Vec v) { store(p, v); }
inline void store(float* p, Lanes lanes, Vec v) { _mm512_mask_storeu_ps(p, lanes, v); }
inline void store_left(float* p, int64_t left, Vec v) { store(p, first_lanes(left), v); }

// The first `left` elements of a vector, of any length.
using Tail = Lanes;
inline Tail tail_of(int64_t left) { return first_lanes(left); }

// FP16, to the nearest.
inline Vec load_halves(const uint8_t* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
inline Vec load_halves(const uint8_t* p, Tail tail) {
  return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(tail, p));
}
inline __m256i halves(Vec v) {
  return _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
inline void store_halves(uint16_t* p, Vec v) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), halves(v));
}
inline void store_halves(uint16_t* p, Tail tail, Vec v) {
  _mm256_mask_storeu_epi16(p, tail, halves(v));
}

// INT8; what is stored is in its range.
inline Vec load_bytes(const uint8_t* p) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes));
}
inline Vec load_bytes(const uint8_t* p, Tail tail) {
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(tail, p)));
}
inline void store_bytes(int8_t* p, Ints v) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(v));
}
inline void store_bytes(int8_t* p, Tail tail, Ints v) {
  _mm_mask_storeu_epi8(p, tail, _mm512_cvtepi32_epi8(v));
}
inline void store_32_bytes(int8_t* p, const Ints (&v)[2]) {
  store_bytes(p, v[0]);
  store_bytes(p + 16, v[1]);
}

// ---- Lane by lane. Of greater() and lesser() the second is the result where one is NaN.

inline Vec each(float x) { return _mm512_set1_ps(x); }
inline Vec add(Vec a, Vec b) { return _mm512_add_ps(a, b); }
inline Vec subtract(Vec a, Vec b) { return _mm512_sub_ps(a, b); }
inline Vec times(Vec a, Vec b) { return _mm512_mul_ps(a, b); }
inline Vec square_root(Vec v) { return _mm512_sqrt_ps(v); }
inline Vec divide(Vec a, Vec b) { return _mm512_div_ps(a, b); }
inline Vec greater(Vec a, Vec b) { return _mm512_max_ps(a, b); }
inline Vec lesser(Vec a, Vec b) { return _mm512_min_ps(a, b); }
inline Vec multiply_add(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }       // a b + c
inline Vec multiply_subtract(Vec a, Vec b, Vec c) { return _mm512_fmsub_ps(a, b, c); }  // a b - c
inline Vec subtract_from(Vec a, Vec b, Vec c) { return _mm512_fnmadd_ps(a, b, c); }     // c - a b

inline Vec magnitude(Vec v) { return _mm512_andnot_ps(each(-0.0f), v); }
inline Vec negative_magnitude(Vec v) { return _mm512_or_ps(v, each(-0.0f)); }
// v, a magnitude, with the sign of s.
inline Vec with_sign(Vec v, Vec s) { return _mm512_or_ps(_mm512_and_ps(s, each(-0.0f)), v); }

inline Which less(Vec a, Vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
inline Which not_less(Vec a, Vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_NLT_UQ); }
inline Which not_up_to(Vec a, Vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_NLE_UQ); }
inline Which is_nan(Vec v) { return _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q); }
inline Vec where(Which which, Vec yes, Vec no) { return _mm512_mask_mov_ps(no, which, yes); }

// a, and in `lanes` a + b or greater(a, b).
inline Vec add_in(Lanes lanes, Vec a, Vec b) { return _mm512_mask_add_ps(a, lanes, a, b); }
inline Vec greater_in(Lanes lanes, Vec a, Vec b) { return _mm512_mask_max_ps(a, lanes, a, b); }

// v times two to the power of the integer in the low bits of `power`; zero but for `which`.
inline Vec scale_by_power(Which which, Vec v, Vec power) {
  const __m512i exponent = _mm512_slli_epi32(_mm512_castps_si512(power), 23);
  return _mm512_castsi512_ps(_mm512_maskz_add_epi32(which, _mm512_castps_si512(v), exponent));
}

inline Ints no_ints() { return _mm512_setzero_si512(); }
inline Ints rounded(Vec v) { return _mm512_cvtps_epi32(v); }
inline Ints add(Ints a, Ints b) { return _mm512_add_epi32(a, b); }

// ---- All lanes

inline float sum_of(Vec v) {
  const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

inline float greatest_of(Vec v) {
  const __m256 half = _mm256_max_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
  __m128 m = _mm_max_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
  m = _mm_max_ps(m, _mm_movehl_ps(m, m));
  return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
}

inline int32_t sum_of(Ints v) {
  const __m256i half = _mm256_add_epi32(_mm512_castsi512_si256(v), _mm512_extracti64x4_epi64(v, 1));
  __m128i s = _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
  s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
  s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1));
  return _mm_cvtsi128_si32(s);
}

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

// Rows of sixteen floats to columns.
inline void transpose(Vec (&v)[kLanes]) {
  __m512 quad[16];  // 4 x 4 blocks: register 4 i + j holds column j of the lanes of rows 4 i ..
  for (int i = 0; i < 16; i += 4) {
    const __m512d a = _mm512_castps_pd(_mm512_unpacklo_ps(v[i], v[i + 1]));
    const __m512d b = _mm512_castps_pd(_mm512_unpackhi_ps(v[i], v[i + 1]));
    const __m512d c = _mm512_castps_pd(_mm512_unpacklo_ps(v[i + 2], v[i + 3]));
    const __m512d d = _mm512_castps_pd(_mm512_unpackhi_ps(v[i + 2], v[i + 3]));
    quad[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, c));
    quad[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, c));
    quad[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(b, d));
    quad[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(b, d));
  }
  for (int j = 0; j < 4; ++j) {  // lane l of column j is column 4 l + j
    const __m512 a = _mm512_shuffle_f32x4(quad[j], quad[4 + j], 0x88);
    const __m512 b = _mm512_shuffle_f32x4(quad[8 + j], quad[12 + j], 0x88);
    const __m512 c = _mm512_shuffle_f32x4(quad[j], quad[4 + j], 0xdd);
    const __m512 d = _mm512_shuffle_f32x4(quad[8 + j], quad[12 + j], 0xdd);
    v[j] = _mm512_shuffle_f32x4(a, b, 0x88);
    v[4 + j] = _mm512_shuffle_f32x4(c, d, 0x88);
    v[8 + j] = _mm512_shuffle_f32x4(a, b, 0xdd);
    v[12 + j] = _mm512_shuffle_f32x4(c, d, 0xdd);
  }
}

// ---- Eight floats in FP64

using Doubles = __m512d;

inline Doubles load_doubles(const float* p) { return _mm512_cvtps_pd(_mm256_loadu_ps(p)); }
inline Doubles load_doubles(const float* p, int64_t left) {
  const __mmask8 lanes = static_cast<__mmask8>(first_lanes(left));
  return _mm512_cvtps_pd(_mm256_maskz_loadu_ps(lanes, p));
}
inline Doubles add(Doubles a, Doubles b) { return _mm512_add_pd(a, b); }
// Both halves of v, one after the other.
inline Doubles add(Doubles sum, Vec v) {
  sum = add(sum, _mm512_cvtps_pd(_mm512_castps512_ps256(v)));
  return add(sum, _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1)));
}
inline Doubles multiply_add(Doubles a, Doubles b, Doubles c) { return _mm512_fmadd_pd(a, b, c); }
inline double sum_of(Doubles v) {
  const __m256d four = _mm256_add_pd(_mm512_castpd512_pd256(v), _mm512_extractf64x4_pd(v, 1));
  const __m128d pair = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
  return _mm_cvtsd_f64(_mm_add_sd(pair, _mm_unpackhi_pd(pair, pair)));
}

}  // namespace
}  // namespace klens::cpu

// What is made of these words.
#include "kernels/cpu/math_simd.h"
