#include <cmath>

#include "kernels/cpu/scan/delta_rule.h"

namespace klens::cpu {

DeltaRule delta_rule_scalar;

static double inverse_length(const float* x, int64_t count) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += double{x[i]} * double{x[i]};
  return 1 / std::sqrt(sum + 1e-6);
}

// FP64 within a step; the state is FP32 between steps, or cutting the tokens into calls would show.
static void step(const DeltaRuleArgs& a, int64_t t, int64_t h) {
  const int64_t key_head = a.tiled ? h % a.key_heads : h / (a.heads / a.key_heads);
  const float* q = a.q + t * a.qkv_stride + key_head * a.k_dim;
  const float* k = a.k + t * a.qkv_stride + key_head * a.k_dim;
  const float* v = a.v + t * a.qkv_stride + h * a.v_dim;
  const float* decay = a.log_decay + t * a.decay_stride + (a.by_channel ? h * a.k_dim : h);
  const double beta = a.beta[t * a.beta_stride + h];
  const double to_key = inverse_length(k, a.k_dim);
  const double to_query = inverse_length(q, a.k_dim) / std::sqrt(static_cast<double>(a.k_dim));
  const double one_decay = a.by_channel ? 0 : std::exp(double{*decay});
  float* state = a.state + h * a.k_dim * a.v_dim;
  for (int64_t p = 0; p < a.v_dim; ++p) {
    const auto decayed = [&](int64_t n) {
      return (a.by_channel ? std::exp(double{decay[n]}) : one_decay) *
             double{state[n * a.v_dim + p]};
    };
    double seen = 0, y = 0;
    for (int64_t n = 0; n < a.k_dim; ++n) seen += to_key * double{k[n]} * decayed(n);
    const double delta = beta * (double{v[p]} - seen);
    for (int64_t n = 0; n < a.k_dim; ++n) {
      const double next = decayed(n) + to_key * double{k[n]} * delta;
      state[n * a.v_dim + p] = static_cast<float>(next);
      y += to_query * double{q[n]} * next;
    }
    a.y[t * a.y_stride + h * a.v_dim + p] = static_cast<float>(y);
  }
}

void delta_rule_scalar(const DeltaRuleArgs& a) {
  for (int64_t h = a.head_begin; h < a.head_end; ++h)
    for (int64_t t = 0; t < a.tokens; ++t) step(a, t, h);
}

}  // namespace klens::cpu
