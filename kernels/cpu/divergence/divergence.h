#pragma once
#include <cstdint>
#include <span>

#include "kernels/cpu/variant.h"

namespace klens::cpu {

// What one position's logits say of a student against its teacher: p = softmax(z), q = softmax(zq).
struct Divergence {
  double lse_p = 0, lse_q = 0;  // log sum exp of z, of zq
  double kl = 0;                // KL(p || q) = sum p (log p - log q), nats
  double kl_reverse = 0;        // KL(q || p), nats
  double squared_error = 0;     // sum (z - zq)^2
  double squared = 0;           // sum z^2
};

struct DivergenceArgs {
  const float* z;   // [vocab] teacher
  const float* zq;  // [vocab] student
  int64_t vocab;
};

// Logits are finite. The scalar variant is FP64 throughout; the others have FP32 terms and FP64 sums.
// The divergences are sums of non-negative terms, so the tiny ones of a single quantised unit keep
// their digits: |kl - kl_scalar| <= 1e-5 kl + 1e-12, likewise kl_reverse; lse within 1e-6; squared
// sums within 1e-6 relative.
using DivergenceFn = Divergence(const DivergenceArgs&);

std::span<const Variant<DivergenceFn>> divergence_variants();

// log sum over i of exp(z[i]), for one row of [vocab] logits; error as lse above.
using LogSumExpFn = double(const float* z, int64_t vocab);

std::span<const Variant<LogSumExpFn>> log_sum_exp_variants();

}  // namespace klens::cpu
