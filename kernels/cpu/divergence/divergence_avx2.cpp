// Built with -mavx2 -mfma -mf16c. See kernels/README.md for the one rule of such files.
#include "kernels/cpu/avx2_math.h"
#include "kernels/cpu/divergence/divergence.h"

namespace klens::cpu {

DivergenceFn divergence_avx2;
LogSumExpFn log_sum_exp_avx2;

namespace {

// Vectors summed in FP32 before they go to FP64: at most 8 * 2^-24 of relative error on sums of
// terms of one sign, for a fifth of the conversions.
constexpr int64_t kVectors = 8;

// A sum of eight FP32 lanes at a time, kept in FP64.
struct Sum {
  __m256d low = _mm256_setzero_pd(), high = _mm256_setzero_pd();
};

inline void add(Sum& s, __m256 v) {
  s.low = _mm256_add_pd(s.low, _mm256_cvtps_pd(_mm256_castps256_ps128(v)));
  s.high = _mm256_add_pd(s.high, _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1)));
}

inline double total(const Sum& s) {
  const __m256d v = _mm256_add_pd(s.low, s.high);
  const __m128d w = _mm_add_pd(_mm256_castpd256_pd128(v), _mm256_extractf128_pd(v, 1));
  return _mm_cvtsd_f64(_mm_add_sd(w, _mm_unpackhi_pd(w, w)));
}

inline float max_of(const float* z, int64_t vocab) {
  __m256 m = _mm256_set1_ps(z[0]);
  int64_t i = 0;
  for (; i + 8 <= vocab; i += 8) m = _mm256_max_ps(m, _mm256_loadu_ps(z + i));
  if (i < vocab) {
    const __m256i mask = first_lanes(vocab - i);
    m = _mm256_max_ps(
        m, _mm256_blendv_ps(m, _mm256_maskload_ps(z + i, mask), _mm256_castsi256_ps(mask)));
  }
  __m128 n = _mm_max_ps(_mm256_castps256_ps128(m), _mm256_extractf128_ps(m, 1));
  n = _mm_max_ps(n, _mm_movehl_ps(n, n));
  return _mm_cvtss_f32(_mm_max_ss(n, _mm_movehdup_ps(n)));
}

// log sum exp(z) = max + log_sum.
struct Normaliser {
  float max;
  double log_sum;
};

inline Normaliser normaliser(const float* z, int64_t vocab) {
  const float max = max_of(z, vocab);
  const __m256 max8 = _mm256_set1_ps(max);
  Sum sum;
  int64_t i = 0;
  while (i + 8 <= vocab) {
    const int64_t left = vocab - i, end = i + (left < 8 * kVectors ? left / 8 * 8 : 8 * kVectors);
    __m256 part = _mm256_setzero_ps();
    for (; i < end; i += 8)
      part = _mm256_add_ps(part, exp_negative8(_mm256_sub_ps(_mm256_loadu_ps(z + i), max8)));
    add(sum, part);
  }
  if (i < vocab) {
    const __m256i mask = first_lanes(vocab - i);
    const __m256 e = exp_negative8(_mm256_sub_ps(_mm256_maskload_ps(z + i, mask), max8));
    add(sum, _mm256_and_ps(e, _mm256_castsi256_ps(mask)));
  }
  return {max, __builtin_log(total(sum))};
}

// KL(p || q) = sum p g(u) with u = log p - log q and g(u) = u - 1 + e^-u = u^2/2 - u^3/6 + ...: as
// p and q both sum to 1, the added terms sum to 0. Every term is non-negative, so a small KL keeps
// its relative precision, and as sum p g'(u) = sum (p - q) = 0, an error e in the two normalisers
// shows as e^2 only. KL(q || p) = sum q g(-u).
struct Sums {
  Sum kl, kl_reverse, squared_error, squared;
};
struct Parts {
  __m256 kl = _mm256_setzero_ps(), kl_reverse = kl, squared_error = kl, squared = kl;
};

inline void add(Sums& sums, const Parts& parts) {
  add(sums.kl, parts.kl);
  add(sums.kl_reverse, parts.kl_reverse);
  add(sums.squared_error, parts.squared_error);
  add(sums.squared, parts.squared);
}

struct Shift {
  __m256 max_p, max_q, log_sum_p, log_sum_q;
  __m256 delta;  // lse_p - lse_q
};

inline void accumulate(Parts& sums, const Shift& shift, __m256 z, __m256 zq, __m256 mask) {
  const __m256 p = exp_negative8(_mm256_sub_ps(_mm256_sub_ps(z, shift.max_p), shift.log_sum_p));
  const __m256 q = exp_negative8(_mm256_sub_ps(_mm256_sub_ps(zq, shift.max_q), shift.log_sum_q));
  const __m256 d = _mm256_sub_ps(z, zq);
  const __m256 u = _mm256_sub_ps(d, shift.delta);
  // The series where |u| < 1/2: its even and odd parts serve both directions. Next term 4e-8.
  const __m256 u2 = _mm256_mul_ps(u, u);
  __m256 even = _mm256_set1_ps(1.0f / 40320);
  even = _mm256_fmadd_ps(even, u2, _mm256_set1_ps(1.0f / 720));
  even = _mm256_fmadd_ps(even, u2, _mm256_set1_ps(1.0f / 24));
  even = _mm256_fmadd_ps(even, u2, _mm256_set1_ps(1.0f / 2));
  __m256 odd = _mm256_set1_ps(1.0f / 5040);
  odd = _mm256_fmadd_ps(odd, u2, _mm256_set1_ps(1.0f / 120));
  odd = _mm256_fmadd_ps(odd, u2, _mm256_set1_ps(1.0f / 6));
  odd = _mm256_mul_ps(odd, u);
  const __m256 near_p = _mm256_mul_ps(p, _mm256_mul_ps(u2, _mm256_sub_ps(even, odd)));
  const __m256 near_q = _mm256_mul_ps(q, _mm256_mul_ps(u2, _mm256_add_ps(even, odd)));
  // Elsewhere p g(u) = p u - p + q and q g(-u) = p - q - q u, without a quotient that could
  // overflow.
  const __m256 p_minus_q = _mm256_sub_ps(p, q);
  const __m256 far_p = _mm256_fmsub_ps(p, u, p_minus_q);
  const __m256 far_q = _mm256_fnmadd_ps(q, u, p_minus_q);
  const __m256 near = _mm256_cmp_ps(u2, _mm256_set1_ps(0.25f), _CMP_LT_OQ);
  const __m256 kl = _mm256_and_ps(mask, _mm256_blendv_ps(far_p, near_p, near));
  const __m256 kl_reverse = _mm256_and_ps(mask, _mm256_blendv_ps(far_q, near_q, near));
  sums.kl = _mm256_add_ps(sums.kl, kl);
  sums.kl_reverse = _mm256_add_ps(sums.kl_reverse, kl_reverse);
  sums.squared_error = _mm256_fmadd_ps(d, d, sums.squared_error);
  sums.squared = _mm256_fmadd_ps(z, z, sums.squared);
}

}  // namespace

double log_sum_exp_avx2(const float* z, int64_t vocab) {
  const Normaliser n = normaliser(z, vocab);
  return static_cast<double>(n.max) + n.log_sum;
}

Divergence divergence_avx2(const DivergenceArgs& a) {
  const Normaliser p = normaliser(a.z, a.vocab), q = normaliser(a.zq, a.vocab);
  const double lse_p = static_cast<double>(p.max) + p.log_sum;
  const double lse_q = static_cast<double>(q.max) + q.log_sum;
  const Shift shift{_mm256_set1_ps(p.max), _mm256_set1_ps(q.max),
                    _mm256_set1_ps(static_cast<float>(p.log_sum)),
                    _mm256_set1_ps(static_cast<float>(q.log_sum)),
                    _mm256_set1_ps(static_cast<float>(lse_p - lse_q))};
  Sums sums;
  const __m256 all = _mm256_castsi256_ps(first_lanes(8));
  int64_t i = 0;
  while (i + 8 <= a.vocab) {
    const int64_t left = a.vocab - i, end = i + (left < 8 * kVectors ? left / 8 * 8 : 8 * kVectors);
    Parts parts;
    for (; i < end; i += 8)
      accumulate(parts, shift, _mm256_loadu_ps(a.z + i), _mm256_loadu_ps(a.zq + i), all);
    add(sums, parts);
  }
  if (i < a.vocab) {
    const __m256i mask = first_lanes(a.vocab - i);
    Parts parts;
    accumulate(parts, shift, _mm256_maskload_ps(a.z + i, mask), _mm256_maskload_ps(a.zq + i, mask),
               _mm256_castsi256_ps(mask));
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
