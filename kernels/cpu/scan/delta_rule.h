#pragma once
#include <cstdint>
#include <span>

#include "kernels/cpu/variant.h"

namespace klens::cpu {

// Chunks begin at multiples of it in the sequence, so that it does not matter whether a call ends
// there: tokens.
inline constexpr int64_t kDeltaChunk = 64;

// The gated delta rule (arXiv 2412.06464). For every value head h, its key head h / (heads /
// key_heads), or h % key_heads where `tiled`, channels n of keys and p of values, with a head's q
// and k of unit length:
//   q^ = q / sqrt(sum q^2 + 1e-6) / sqrt(k_dim), k^ = k / sqrt(sum k^2 + 1e-6)
//   S[n][p] = exp(log_decay[n]) S[n][p]
//   delta[p] = beta (v[p] - sum over n of k^[n] S[n][p])
//   S[n][p] = S[n][p] + k^[n] delta[p]
//   y[p] = sum over n of q^[n] S[n][p]
// A token alone goes by this recurrence, with its state read and written once; several in chunks,
// as matrix products about a triangular system, which begin at multiples of kDeltaChunk. A decay of
// each channel's own (Kimi's delta attention, arXiv 2510.26692) always goes by the recurrence.
struct DeltaRuleArgs {
  const float *q, *k;  // [tokens][key_heads][k_dim], rows qkv_stride floats apart: after conv, SiLU
  const float* v;      // [tokens][heads][v_dim], rows qkv_stride floats apart
  int64_t qkv_stride;
  const float* log_decay;  // [tokens][heads], or [tokens][heads][k_dim] where by_channel; <= 0
  int64_t decay_stride;
  bool by_channel;
  const float* beta;  // [tokens][heads], rows beta_stride floats apart, from 0 to 2
  int64_t beta_stride;
  float* state;      // [heads][k_dim][v_dim], read and updated
  int64_t position;  // of the first token, >= 0; the sequence's next call is at that of the next
  float* y;  // [tokens][heads][v_dim], rows y_stride floats apart; must not overlap the inputs
  int64_t y_stride;
  int64_t tokens;
  int64_t heads, key_heads, k_dim, v_dim;  // any sizes; key_heads divides heads
  bool tiled;
  int64_t head_begin, head_end;  // only these value heads are read, written and updated
  float* work;                   // [delta_rule_work(*this)] floats, uninitialised; the call's own
  bool rounded = false;          // variants that can may round what chunks multiply to BF16
};

// Floats of working memory that a call needs with any variant.
int64_t delta_rule_work(const DeltaRuleArgs& args);

// No allocation, errors or globals. Bit-equal in any range of heads. However tokens are cut into
// calls, equal within the bound; bit-equal if calls of more than one token are cut at multiples of
// kDeltaChunk. A step's matrix 1 - beta k^ k^T is no longer than 1, so errors do not grow: with M a
// bound of the length of a column of S, M[p] = e^g M[p] + beta |v[p]|, and E the errors of all
// steps, E[p] = e^g E[p] + M[p] (g: the largest of log_decay),
//   |S - S_scalar| <= 16 (k_dim + 72) eps E, |y - y_scalar| <= that / sqrt(k_dim).
// Where `rounded`, 2^-6 is added to the factor of E: keys, queries, the state and delta have 8 bits
// in products; the triangular system is solved, and the state kept, in FP32.
using DeltaRule = void(const DeltaRuleArgs&);

std::span<const Variant<DeltaRule>> delta_rule_variants();

}  // namespace klens::cpu
