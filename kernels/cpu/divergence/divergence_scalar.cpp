#include <algorithm>
#include <cmath>

#include "kernels/cpu/divergence/divergence.h"

namespace klens::cpu {

DivergenceFn divergence_scalar;
LogSumExpFn log_sum_exp_scalar;

double log_sum_exp_scalar(const float* z, int64_t vocab) {
  double max = z[0];
  for (int64_t i = 1; i < vocab; ++i) max = std::max(max, double{z[i]});
  double sum = 0;
  for (int64_t i = 0; i < vocab; ++i) sum += std::exp(double{z[i]} - max);
  return max + std::log(sum);
}

namespace {

// p (u - 1 + e^-u) where q = p e^-u: a position's part of KL(p || q), see below.
double kl_term(double p, double q, double u) {
  return std::fabs(u) < 1 ? p * (u + std::expm1(-u)) : p * u - p + q;
}

}  // namespace

// KL(p || q) = sum p (log p - log q) = sum p (u - 1 + e^-u) with u = log p - log q, as p and q both
// sum to 1: every term is non-negative, so nothing cancels where p and q are close.
Divergence divergence_scalar(const DivergenceArgs& a) {
  Divergence d;
  d.lse_p = log_sum_exp_scalar(a.z, a.vocab);
  d.lse_q = log_sum_exp_scalar(a.zq, a.vocab);
  for (int64_t i = 0; i < a.vocab; ++i) {
    const double z = a.z[i], zq = a.zq[i];
    const double log_p = z - d.lse_p, log_q = zq - d.lse_q;
    const double p = std::exp(log_p), q = std::exp(log_q);
    d.kl += kl_term(p, q, log_p - log_q);
    d.kl_reverse += kl_term(q, p, log_q - log_p);
    d.squared_error += (z - zq) * (z - zq);
    d.squared += z * z;
  }
  return d;
}

}  // namespace klens::cpu
