// Built with -mavx512f -mavx512bw -mavx512dq -mavx512vl and AVX2's flags. See kernels/README.md for
// the one rule of such files.
#include "kernels/cpu/avx512_math.h"
#include "kernels/cpu/divergence/divergence.h"

namespace klens::cpu {

DivergenceFn divergence_avx512;
LogSumExpFn log_sum_exp_avx512;

// What is computed, and why so, stands in divergence_avx2.cpp.
namespace {

// Vectors summed in FP32 before they go to FP64: at most 8 * 2^-24 of relative error on sums of
// terms of one sign.
constexpr int64_t kVectors = 8;

// A sum of sixteen FP32 lanes at a time, kept in FP64.
struct Sum {
  __m512d v = _mm512_setzero_pd();
};

inline void add(Sum& s, __m512 v) {
  s.v = _mm512_add_pd(s.v, _mm512_cvtps_pd(_mm512_castps512_ps256(v)));
  s.v = _mm512_add_pd(s.v, _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1)));
}

inline double total(const Sum& s) {
  const __m256d v = _mm256_add_pd(_mm512_castpd512_pd256(s.v), _mm512_extractf64x4_pd(s.v, 1));
  const __m128d w = _mm_add_pd(_mm256_castpd256_pd128(v), _mm256_extractf128_pd(v, 1));
  return _mm_cvtsd_f64(_mm_add_sd(w, _mm_unpackhi_pd(w, w)));
}

inline float max_of(const float* z, int64_t vocab) {
  constexpr int kChains = 4;
  __m512 m[kChains];
  for (__m512& each : m) each = _mm512_set1_ps(z[0]);
  int64_t i = 0;
  for (; i + 16 * kChains <= vocab; i += 16 * kChains)
    for (int j = 0; j < kChains; ++j) m[j] = _mm512_max_ps(m[j], _mm512_loadu_ps(z + i + 16 * j));
  for (; i < vocab; i += 16) {
    const __mmask16 mask = first_lanes16(vocab - i);
    m[0] = _mm512_mask_max_ps(m[0], mask, m[0], load16(z + i, mask));
  }
  return max_lanes16(_mm512_max_ps(_mm512_max_ps(m[0], m[1]), _mm512_max_ps(m[2], m[3])));
}

// log sum exp(z) = max + log_sum.
struct Normaliser {
  float max;
  double log_sum;
};

inline Normaliser normaliser(const float* z, int64_t vocab) {
  const float max = max_of(z, vocab);
  const __m512 max16 = _mm512_set1_ps(max);
  Sum sum;
  for (int64_t i = 0; i < vocab;) {
    const int64_t left = vocab - i, end = left < 16 * kVectors ? vocab : i + 16 * kVectors;
    __m512 part = _mm512_setzero_ps();
    for (; i < end; i += 16) {
      const __mmask16 mask = first_lanes16(vocab - i);
      const __m512 e = exp_negative16(_mm512_sub_ps(load16(z + i, mask), max16));
      part = _mm512_mask_add_ps(part, mask, part, e);
    }
    add(sum, part);
  }
  return {max, __builtin_log(total(sum))};
}

struct Sums {
  Sum kl, kl_reverse, squared_error, squared;
};
struct Parts {
  __m512 kl = _mm512_setzero_ps(), kl_reverse = kl, squared_error = kl, squared = kl;
};

inline void add(Sums& sums, const Parts& parts) {
  add(sums.kl, parts.kl);
  add(sums.kl_reverse, parts.kl_reverse);
  add(sums.squared_error, parts.squared_error);
  add(sums.squared, parts.squared);
}

struct Shift {
  __m512 max_p, max_q, log_sum_p, log_sum_q;
  __m512 delta;  // lse_p - lse_q
};

// Lanes outside the mask have z = zq = 0.
inline void accumulate(Parts& sums, const Shift& shift, __m512 z, __m512 zq, __mmask16 mask) {
  const __m512 p = exp_negative16(_mm512_sub_ps(_mm512_sub_ps(z, shift.max_p), shift.log_sum_p));
  const __m512 q = exp_negative16(_mm512_sub_ps(_mm512_sub_ps(zq, shift.max_q), shift.log_sum_q));
  const __m512 d = _mm512_sub_ps(z, zq);
  const __m512 u = _mm512_sub_ps(d, shift.delta);
  // The series where |u| < 1/2: its even and odd parts serve both directions. Next term 4e-8.
  const __m512 u2 = _mm512_mul_ps(u, u);
  __m512 even = _mm512_set1_ps(1.0f / 40320);
  even = _mm512_fmadd_ps(even, u2, _mm512_set1_ps(1.0f / 720));
  even = _mm512_fmadd_ps(even, u2, _mm512_set1_ps(1.0f / 24));
  even = _mm512_fmadd_ps(even, u2, _mm512_set1_ps(1.0f / 2));
  __m512 odd = _mm512_set1_ps(1.0f / 5040);
  odd = _mm512_fmadd_ps(odd, u2, _mm512_set1_ps(1.0f / 120));
  odd = _mm512_fmadd_ps(odd, u2, _mm512_set1_ps(1.0f / 6));
  odd = _mm512_mul_ps(odd, u);
  const __m512 near_p = _mm512_mul_ps(p, _mm512_mul_ps(u2, _mm512_sub_ps(even, odd)));
  const __m512 near_q = _mm512_mul_ps(q, _mm512_mul_ps(u2, _mm512_add_ps(even, odd)));
  // Elsewhere p g(u) = p u - p + q and q g(-u) = p - q - q u, without a quotient that could
  // overflow.
  const __m512 p_minus_q = _mm512_sub_ps(p, q);
  const __m512 far_p = _mm512_fmsub_ps(p, u, p_minus_q);
  const __m512 far_q = _mm512_fnmadd_ps(q, u, p_minus_q);
  const __mmask16 near = _mm512_cmp_ps_mask(u2, _mm512_set1_ps(0.25f), _CMP_LT_OQ);
  const __m512 kl = _mm512_mask_mov_ps(far_p, near, near_p);
  const __m512 kl_reverse = _mm512_mask_mov_ps(far_q, near, near_q);
  sums.kl = _mm512_mask_add_ps(sums.kl, mask, sums.kl, kl);
  sums.kl_reverse = _mm512_mask_add_ps(sums.kl_reverse, mask, sums.kl_reverse, kl_reverse);
  sums.squared_error = _mm512_fmadd_ps(d, d, sums.squared_error);
  sums.squared = _mm512_fmadd_ps(z, z, sums.squared);
}

}  // namespace

double log_sum_exp_avx512(const float* z, int64_t vocab) {
  const Normaliser n = normaliser(z, vocab);
  return static_cast<double>(n.max) + n.log_sum;
}

Divergence divergence_avx512(const DivergenceArgs& a) {
  const Normaliser p = normaliser(a.z, a.vocab), q = normaliser(a.zq, a.vocab);
  const double lse_p = static_cast<double>(p.max) + p.log_sum;
  const double lse_q = static_cast<double>(q.max) + q.log_sum;
  const Shift shift{_mm512_set1_ps(p.max), _mm512_set1_ps(q.max),
                    _mm512_set1_ps(static_cast<float>(p.log_sum)),
                    _mm512_set1_ps(static_cast<float>(q.log_sum)),
                    _mm512_set1_ps(static_cast<float>(lse_p - lse_q))};
  Sums sums;
  for (int64_t i = 0; i < a.vocab;) {
    const int64_t left = a.vocab - i, end = left < 16 * kVectors ? a.vocab : i + 16 * kVectors;
    Parts parts;
    for (; i < end; i += 16) {
      const __mmask16 mask = first_lanes16(a.vocab - i);
      accumulate(parts, shift, load16(a.z + i, mask), load16(a.zq + i, mask), mask);
    }
    add(sums, parts);
  }
  return {lse_p,
          lse_q,
          total(sums.kl),
          total(sums.kl_reverse),
          total(sums.squared_error),
          total(sums.squared)};
}

}  // namespace klens::cpu
