// Shared by *_avx2.cpp only. Everything here is internal to the file that includes it, so the
// linker can never hand an AVX2 copy to baseline code.
#pragma once
#include <immintrin.h>

#include <cstdint>

namespace klens::cpu {
namespace {

alignas(64) constexpr int32_t kLaneMask[16] = {-1, -1, -1, -1, -1, -1, -1, -1,
                                               0,  0,  0,  0,  0,  0,  0,  0};

// Selects the first `lanes` (0 to 8) of eight.
static inline __m256i first_lanes(int64_t lanes) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kLaneMask + 8 - lanes));
}

// The lanes that a block of eight starting `left` elements before the end of a row may touch.
static inline __m256i lanes_left(int64_t left) { return first_lanes(left < 8 ? left : 8); }

// Eight floats, or those of a row's tail. On AMD a masked store costs as much as twelve plain ones,
// so whole blocks avoid it.
template <bool Masked>
inline __m256 load8(const float* p, __m256i mask) {
  return Masked ? _mm256_maskload_ps(p, mask) : _mm256_loadu_ps(p);
}

template <bool Masked>
inline void store8(float* p, __m256i mask, __m256 v) {
  if (Masked) {
    _mm256_maskstore_ps(p, mask, v);
  } else {
    _mm256_storeu_ps(p, v);
  }
}

// e^x for x = n ln2 + r, |r| <= ln2 / 2: ln2 in two parts (Cody-Waite), then 1 + r + r^2 P(r) with
// P the minimax polynomial of degree 4 for the relative error of e^r (3.1e-9), scaled by adding n
// to the exponent. 0 below log of the least normal number, infinity above that of the greatest.
// exp_negative8 is for x <= 0 (or a little above, from rounding), and not for NaN.
static inline __m256 exp_negative8(__m256 x) {
  const __m256 magic = _mm256_set1_ps(0x1.8p23f);  // x + magic has round(x) in its low bits
  const __m256 shifted = _mm256_fmadd_ps(x, _mm256_set1_ps(0x1.715476p+0f), magic);
  const __m256 n = _mm256_sub_ps(shifted, magic);
  __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0x1.62e4p-1f), x);
  r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0x1.7f7d1cp-20f), r);
  __m256 p = _mm256_set1_ps(0x1.6a241ap-10f);
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0x1.1239f2p-7f));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0x1.5558f2p-5f));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0x1.555492p-3f));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0x1.fffffcp-2f));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));
  const __m256i exponent = _mm256_slli_epi32(_mm256_castps_si256(shifted), 23);
  p = _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p), exponent));
  const __m256 under = _mm256_cmp_ps(x, _mm256_set1_ps(-0x1.5d589ep+6f), _CMP_LT_OQ);
  return _mm256_andnot_ps(under, p);
}

// The same for any x.
static inline __m256 exp8(__m256 x) {
  const __m256 e = exp_negative8(x);
  // Not (x <= log max) is true of NaN as well, for which x + infinity is NaN.
  const __m256 over = _mm256_cmp_ps(x, _mm256_set1_ps(0x1.62e42ep+6f), _CMP_NLE_UQ);
  return _mm256_blendv_ps(e, _mm256_add_ps(x, _mm256_set1_ps(__builtin_inff())), over);
}

// v / (1 + e^-v)
static inline __m256 silu8(__m256 v) {
  const __m256 e = exp8(_mm256_sub_ps(_mm256_setzero_ps(), v));
  return _mm256_div_ps(v, _mm256_add_ps(_mm256_set1_ps(1.0f), e));
}

// log(1 + e^v) = max(v, 0) + log1p(w) with w = e^-|v|, and log1p(w) = 2 atanh(s), s = w / (2 + w)
// <= 1/3; atanh(s) = s + s^3 R(s^2), R minimax of degree 3 (relative error 4.5e-9). Above 20 the
// second part is less than half a last place of v, so this is PyTorch's softplus with its threshold
// of 20.
static inline __m256 softplus8(__m256 v) {
  const __m256 w = exp8(_mm256_or_ps(v, _mm256_set1_ps(-0.0f)));
  const __m256 s = _mm256_div_ps(w, _mm256_add_ps(_mm256_set1_ps(2.0f), w));
  const __m256 s2 = _mm256_mul_ps(s, s);
  __m256 p = _mm256_set1_ps(0x1.1ed7bep-3f);
  p = _mm256_fmadd_ps(p, s2, _mm256_set1_ps(0x1.1ebd0ep-3f));
  p = _mm256_fmadd_ps(p, s2, _mm256_set1_ps(0x1.99d208p-3f));
  p = _mm256_fmadd_ps(p, s2, _mm256_set1_ps(0x1.555502p-2f));
  const __m256 twice = _mm256_add_ps(s, s);
  const __m256 log1p = _mm256_fmadd_ps(_mm256_mul_ps(twice, s2), p, twice);
  return _mm256_add_ps(_mm256_max_ps(_mm256_setzero_ps(), v), log1p);
}

// v Phi(v) = max(v, 0) - |v| Phi(-|v|), and Phi(-x) = e^(-x^2 / 2) Q(1 / (1 + 0.23 x)), Q minimax
// of degree 8 (relative error 4.7e-8 for x <= 13.3, where e^(-x^2 / 2) ends): the absolute error of
// Phi is below 2 eps. Where |v| is infinite, zero times it would not be a number.
static inline __m256 gelu8(__m256 v) {
  const __m256 one = _mm256_set1_ps(1.0f);
  const __m256 x = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), v);
  const __m256 t = _mm256_div_ps(one, _mm256_fmadd_ps(x, _mm256_set1_ps(0x1.d70a3ep-3f), one));
  __m256 q = _mm256_set1_ps(-0x1.412aaep-4f);
  q = _mm256_fmadd_ps(q, t, _mm256_set1_ps(0x1.29158ep-2f));
  q = _mm256_fmadd_ps(q, t, _mm256_set1_ps(-0x1.1c267ap-2f));
  q = _mm256_fmadd_ps(q, t, _mm256_set1_ps(0x1.33eb24p-2f));
  q = _mm256_fmadd_ps(q, t, _mm256_set1_ps(-0x1.0905d8p-5f));
  q = _mm256_fmadd_ps(q, t, _mm256_set1_ps(0x1.e875ccp-4f));
  q = _mm256_fmadd_ps(q, t, _mm256_set1_ps(0x1.5f9534p-4f));
  q = _mm256_fmadd_ps(q, t, _mm256_set1_ps(0x1.7a5610p-4f));
  q = _mm256_fmadd_ps(q, t, _mm256_set1_ps(-0x1.c575dep-16f));
  const __m256 e = exp8(_mm256_mul_ps(_mm256_mul_ps(x, x), _mm256_set1_ps(-0.5f)));
  // Of max and min the second operand is the result where one is NaN.
  const __m256 finite = _mm256_min_ps(_mm256_set1_ps(20.0f), x);
  return _mm256_fnmadd_ps(_mm256_mul_ps(finite, q), e, _mm256_max_ps(_mm256_setzero_ps(), v));
}

static inline float sum_lanes(__m256 v) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

static inline float max_lanes(__m256 v) {
  __m128 m = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  m = _mm_max_ps(m, _mm_movehl_ps(m, m));
  return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
}

}  // namespace
}  // namespace klens::cpu
