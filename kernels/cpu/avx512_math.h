// Shared by *_avx512.cpp only. Everything here is internal to the file that includes it, so the
// linker can never hand an AVX-512 copy to baseline code.
#pragma once
#include <immintrin.h>

#include <cstdint>

namespace klens::cpu {
namespace {

// Selects the first `lanes` of sixteen: all of them from sixteen on.
static inline __mmask16 first_lanes16(int64_t lanes) {
  return static_cast<__mmask16>(lanes < 16 ? (1u << lanes) - 1 : 0xffffu);
}

// Sixteen floats, or those of a row's tail.
static inline __m512 load16(const float* p, __mmask16 mask) {
  return _mm512_maskz_loadu_ps(mask, p);
}

static inline void store16(float* p, __mmask16 mask, __m512 v) {
  _mm512_mask_storeu_ps(p, mask, v);
}

// e^x for x = n ln2 + r, |r| <= ln2 / 2: ln2 in two parts (Cody-Waite), then 1 + r + r^2 P(r) with
// P the minimax polynomial of degree 4 for the relative error of e^r (3.1e-9), scaled by adding n
// to the exponent. 0 below log of the least normal number, infinity above that of the greatest.
// exp_negative16 is for x <= 0 (or a little above, from rounding), and not for NaN.
static inline __m512 exp_negative16(__m512 x) {
  const __m512 magic = _mm512_set1_ps(0x1.8p23f);  // x + magic has round(x) in its low bits
  const __m512 shifted = _mm512_fmadd_ps(x, _mm512_set1_ps(0x1.715476p+0f), magic);
  const __m512 n = _mm512_sub_ps(shifted, magic);
  __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0x1.62e4p-1f), x);
  r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0x1.7f7d1cp-20f), r);
  __m512 p = _mm512_set1_ps(0x1.6a241ap-10f);
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.1239f2p-7f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.5558f2p-5f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.555492p-3f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.fffffcp-2f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
  const __m512i exponent = _mm512_slli_epi32(_mm512_castps_si512(shifted), 23);
  const __mmask16 normal = _mm512_cmp_ps_mask(x, _mm512_set1_ps(-0x1.5d589ep+6f), _CMP_NLT_UQ);
  return _mm512_castsi512_ps(_mm512_maskz_add_epi32(normal, _mm512_castps_si512(p), exponent));
}

// The same for any x.
static inline __m512 exp16(__m512 x) {
  const __m512 e = exp_negative16(x);
  // Not (x <= log max) is true of NaN as well, for which x + infinity is NaN.
  const __mmask16 over = _mm512_cmp_ps_mask(x, _mm512_set1_ps(0x1.62e42ep+6f), _CMP_NLE_UQ);
  return _mm512_mask_add_ps(e, over, x, _mm512_set1_ps(__builtin_inff()));
}

// v / (1 + e^-v)
static inline __m512 silu16(__m512 v) {
  const __m512 e = exp16(_mm512_sub_ps(_mm512_setzero_ps(), v));
  return _mm512_div_ps(v, _mm512_add_ps(_mm512_set1_ps(1.0f), e));
}

// log(1 + e^v) = max(v, 0) + log1p(w) with w = e^-|v|, and log1p(w) = 2 atanh(s), s = w / (2 + w)
// <= 1/3; atanh(s) = s + s^3 R(s^2), R minimax of degree 3 (relative error 4.5e-9). Above 20 the
// second part is less than half a last place of v, so this is PyTorch's softplus with its threshold
// of 20.
static inline __m512 softplus16(__m512 v) {
  const __m512 w = exp16(_mm512_or_ps(v, _mm512_set1_ps(-0.0f)));
  const __m512 s = _mm512_div_ps(w, _mm512_add_ps(_mm512_set1_ps(2.0f), w));
  const __m512 s2 = _mm512_mul_ps(s, s);
  __m512 p = _mm512_set1_ps(0x1.1ed7bep-3f);
  p = _mm512_fmadd_ps(p, s2, _mm512_set1_ps(0x1.1ebd0ep-3f));
  p = _mm512_fmadd_ps(p, s2, _mm512_set1_ps(0x1.99d208p-3f));
  p = _mm512_fmadd_ps(p, s2, _mm512_set1_ps(0x1.555502p-2f));
  const __m512 twice = _mm512_add_ps(s, s);
  const __m512 log1p = _mm512_fmadd_ps(_mm512_mul_ps(twice, s2), p, twice);
  return _mm512_add_ps(_mm512_max_ps(_mm512_setzero_ps(), v), log1p);
}

// v Phi(v) = max(v, 0) - |v| Phi(-|v|), and Phi(-x) = e^(-x^2 / 2) Q(1 / (1 + 0.23 x)), Q minimax
// of degree 8 (relative error 4.7e-8 for x <= 13.3, where e^(-x^2 / 2) ends): the absolute error of
// Phi is below 2 eps. Where |v| is infinite, zero times it would not be a number.
static inline __m512 gelu16(__m512 v) {
  const __m512 one = _mm512_set1_ps(1.0f);
  const __m512 x = _mm512_andnot_ps(_mm512_set1_ps(-0.0f), v);
  const __m512 t = _mm512_div_ps(one, _mm512_fmadd_ps(x, _mm512_set1_ps(0x1.d70a3ep-3f), one));
  __m512 q = _mm512_set1_ps(-0x1.412aaep-4f);
  q = _mm512_fmadd_ps(q, t, _mm512_set1_ps(0x1.29158ep-2f));
  q = _mm512_fmadd_ps(q, t, _mm512_set1_ps(-0x1.1c267ap-2f));
  q = _mm512_fmadd_ps(q, t, _mm512_set1_ps(0x1.33eb24p-2f));
  q = _mm512_fmadd_ps(q, t, _mm512_set1_ps(-0x1.0905d8p-5f));
  q = _mm512_fmadd_ps(q, t, _mm512_set1_ps(0x1.e875ccp-4f));
  q = _mm512_fmadd_ps(q, t, _mm512_set1_ps(0x1.5f9534p-4f));
  q = _mm512_fmadd_ps(q, t, _mm512_set1_ps(0x1.7a5610p-4f));
  q = _mm512_fmadd_ps(q, t, _mm512_set1_ps(-0x1.c575dep-16f));
  const __m512 e = exp16(_mm512_mul_ps(_mm512_mul_ps(x, x), _mm512_set1_ps(-0.5f)));
  // Of max and min the second operand is the result where one is NaN.
  const __m512 finite = _mm512_min_ps(_mm512_set1_ps(20.0f), x);
  return _mm512_fnmadd_ps(_mm512_mul_ps(finite, q), e, _mm512_max_ps(_mm512_setzero_ps(), v));
}

static inline float sum_lanes16(__m512 v) {
  const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

static inline float max_lanes16(__m512 v) {
  const __m256 half = _mm256_max_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
  __m128 m = _mm_max_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
  m = _mm_max_ps(m, _mm_movehl_ps(m, m));
  return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
}

}  // namespace
}  // namespace klens::cpu
