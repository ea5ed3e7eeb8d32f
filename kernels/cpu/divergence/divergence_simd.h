// For divergence_<isa>.cpp only, after vec_<isa>.h. Internal linkage throughout.
#pragma once
#include "kernels/cpu/divergence/divergence.h"

namespace klens::cpu {
namespace {

// Vectors summed in FP32 before they go to FP64: at most 8 * 2^-24 of relative error on sums of
// terms of one sign, for a fifth of the conversions.
constexpr int64_t kVectors = 8;

// add_to(part, i, lanes) for all vectors of the vocabulary, and done(part) after every kVectors of
// them. A tail that has to be masked apart is a part of its own.
template <class Part, class Add, class Done>
inline void over_parts(int64_t vocab, const Add& add_to, const Done& done) {
  const int64_t whole = kMasksAreFree ? vocab : vocab / kLanes * kLanes;
  int64_t i = 0;
  while (i < whole) {
    const int64_t left = whole - i, end = left < kLanes * kVectors ? whole : i + kLanes * kVectors;
    Part part;
    for (; i < end; i += kLanes)
      if constexpr (kMasksAreFree) {
        add_to(part, i, first_lanes(vocab - i));
      } else {
        add_to(part, i, AllLanes{});
      }
    done(part);
  }
  if (!kMasksAreFree && i < vocab) {
    Part part;
    add_to(part, i, first_lanes(vocab - i));
    done(part);
  }
}

inline float max_of(const float* z, int64_t vocab) {
  constexpr int kChains = kLanes == 16 ? 4 : 1;
  Vec m[kChains];
  for (Vec& chain : m) chain = each(z[0]);
  int64_t i = 0;
  for (; i + kLanes * kChains <= vocab; i += kLanes * kChains)
    for (int j = 0; j < kChains; ++j) m[j] = greater(m[j], load(z + i + kLanes * j));
  for (; i < vocab; i += kLanes) {
    const Lanes lanes = first_lanes(vocab - i);
    m[0] = greater_in(lanes, m[0], load(z + i, lanes));
  }
  for (int n = kChains / 2; n > 0; n /= 2)
    for (int j = 0; j < n; ++j) m[j] = greater(m[2 * j], m[2 * j + 1]);
  return greatest_of(m[0]);
}

// log sum exp(z) = max + log_sum.
struct Normaliser {
  float max;
  double log_sum;
};

inline Normaliser normaliser(const float* z, int64_t vocab) {
  struct Part {
    Vec v = each(0);
  };
  const float max = max_of(z, vocab);
  const Vec maxes = each(max);
  Doubles sum = {};
  over_parts<Part>(
      vocab,
      [&](Part& part, int64_t i, auto lanes) {
        part.v = add_in(lanes, part.v, exp_negative(subtract(load(z + i, lanes), maxes)));
      },
      [&](const Part& part) { sum = add(sum, part.v); });
  return {max, __builtin_log(sum_of(sum))};
}

inline double log_sum_exp(const float* z, int64_t vocab) {
  const Normaliser n = normaliser(z, vocab);
  return static_cast<double>(n.max) + n.log_sum;
}

// KL(p || q) = sum p g(u) with u = log p - log q and g(u) = u - 1 + e^-u = u^2/2 - u^3/6 + ...: as
// p and q both sum to 1, the added terms sum to 0. Every term is non-negative, so a small KL keeps
// its relative precision, and as sum p g'(u) = sum (p - q) = 0, an error e in the two normalisers
// shows as e^2 only. KL(q || p) = sum q g(-u).
struct Sums {
  Doubles kl = {}, kl_reverse = {}, squared_error = {}, squared = {};
};
struct Parts {
  Vec kl = each(0), kl_reverse = kl, squared_error = kl, squared = kl;
};

inline void add(Sums& sums, const Parts& parts) {
  sums.kl = add(sums.kl, parts.kl);
  sums.kl_reverse = add(sums.kl_reverse, parts.kl_reverse);
  sums.squared_error = add(sums.squared_error, parts.squared_error);
  sums.squared = add(sums.squared, parts.squared);
}

struct Shift {
  Vec max_p, max_q, log_sum_p, log_sum_q;
  Vec delta;  // lse_p - lse_q
};

// Lanes that are not there have z = zq = 0.
template <class L>
inline void accumulate(Parts& sums, const Shift& shift, Vec z, Vec zq, L lanes) {
  const Vec p = exp_negative(subtract(subtract(z, shift.max_p), shift.log_sum_p));
  const Vec q = exp_negative(subtract(subtract(zq, shift.max_q), shift.log_sum_q));
  const Vec d = subtract(z, zq);
  const Vec u = subtract(d, shift.delta);
  // The series where |u| < 1/2: its even and odd parts serve both directions. Next term 4e-8.
  const Vec u2 = times(u, u);
  Vec even = each(1.0f / 40320);
  even = multiply_add(even, u2, each(1.0f / 720));
  even = multiply_add(even, u2, each(1.0f / 24));
  even = multiply_add(even, u2, each(1.0f / 2));
  Vec odd = each(1.0f / 5040);
  odd = multiply_add(odd, u2, each(1.0f / 120));
  odd = multiply_add(odd, u2, each(1.0f / 6));
  odd = times(odd, u);
  const Vec near_p = times(p, times(u2, subtract(even, odd)));
  const Vec near_q = times(q, times(u2, add(even, odd)));
  // Elsewhere p g(u) = p u - p + q and q g(-u) = p - q - q u, without a quotient that could
  // overflow.
  const Vec p_minus_q = subtract(p, q);
  const Vec far_p = multiply_subtract(p, u, p_minus_q);
  const Vec far_q = subtract_from(q, u, p_minus_q);
  const Which near = less(u2, each(0.25f));
  sums.kl = add_in(lanes, sums.kl, where(near, near_p, far_p));
  sums.kl_reverse = add_in(lanes, sums.kl_reverse, where(near, near_q, far_q));
  sums.squared_error = multiply_add(d, d, sums.squared_error);
  sums.squared = multiply_add(z, z, sums.squared);
}

inline Divergence divergence(const DivergenceArgs& a) {
  const Normaliser p = normaliser(a.z, a.vocab), q = normaliser(a.zq, a.vocab);
  const double lse_p = static_cast<double>(p.max) + p.log_sum;
  const double lse_q = static_cast<double>(q.max) + q.log_sum;
  const Shift shift{each(p.max), each(q.max), each(static_cast<float>(p.log_sum)),
                    each(static_cast<float>(q.log_sum)), each(static_cast<float>(lse_p - lse_q))};
  Sums sums;
  over_parts<Parts>(
      a.vocab,
      [&](Parts& parts, int64_t i, auto lanes) {
        accumulate(parts, shift, load(a.z + i, lanes), load(a.zq + i, lanes), lanes);
      },
      [&](const Parts& parts) { add(sums, parts); });
  return {lse_p,
          lse_q,
          sum_of(sums.kl),
          sum_of(sums.kl_reverse),
          sum_of(sums.squared_error),
          sum_of(sums.squared)};
}

}  // namespace
}  // namespace klens::cpu
