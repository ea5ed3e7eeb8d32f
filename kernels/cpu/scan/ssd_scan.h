#pragma once
#include <cstdint>
#include <span>

#include "kernels/cpu/variant.h"

namespace klens::cpu {

// The last tokens of a sequence, as far as they came alone and its state has not taken them up. To
// decode by the recurrence is to read and write all of the state for each token. A token alone is
// kept here instead: y is what the state gives, only read, and what these tokens give; a head's
// state takes up kSsdPending of them at once, each head after another token than the next head. All
// zeros where there are none.
inline constexpr int64_t kSsdPending = 8;

// Chunks begin at multiples of it, and an FP16 state is rounded at each, so that it does not matter
// whether a call ends there: tokens.
inline constexpr int64_t kSsdBlock = 64;

struct SsdPending {
  float* x;       // [heads][kSsdPending][head_dim]: dt x, each token's at its position's remainder
  float* b;       // [groups][states][kSsdPending]
  float* weight;  // [heads][kSsdPending]: decay since the token; 0 where the state has it
  float* log;     // [heads]: sum of dt A since the state was written
};

// Mamba-2's state space dual scan (arXiv 2405.21060, sec. 3 and 6). For every head h, its group g =
// h / (heads / groups), states n and channels p of the head:
//   H[n][p] = exp(dt[t][h] A[h]) H[n][p] + dt[t][h] B[t][g][n] x[t][h][p]
//   y[t][h][p] = sum over n of C[t][g][n] H[n][p] + D[h] x[t][h][p]
// Few tokens go by this recurrence; many in chunks, as matrix products, which begin at multiples of
// their size in the sequence; one alone as SsdPending says. A call of no tokens, or of more than
// one, has the state take up all that is pending first.
struct SsdScanArgs {
  const float* x;  // [tokens][heads][head_dim], rows x_stride floats apart: after conv and SiLU
  int64_t x_stride;
  const float* dt;  // [tokens][heads], rows dt_stride floats apart: after softplus and clamp, >= 0
  int64_t dt_stride;
  const float* b;  // [tokens][groups][states], rows bc_stride floats apart
  const float* c;  // [tokens][groups][states], rows bc_stride floats apart
  int64_t bc_stride;
  const float* a;        // [heads], negative: -exp(A_log)
  const float* d;        // [heads]
  float* state;          // [heads][states][head_dim], read and updated; or null, and instead
  uint16_t* half_state;  // the same in FP16, saturated
  SsdPending pending;    // likewise
  int64_t position;  // of the first token, >= 0; the sequence's next call is at that of the next
  float* y;          // [tokens][heads][head_dim], rows y_stride floats apart; must not overlap x
  int64_t y_stride;
  int64_t tokens;
  int64_t heads, head_dim, groups, states;  // any sizes; groups divides heads
  int64_t head_begin, head_end;             // only these heads are read, written and updated
  float* work;           // [ssd_scan_work(*this)] floats, uninitialised; the call's own
  bool rounded = false;  // variants that can may round what chunks multiply to BF16
};

// Floats of the pending tokens of a sequence, and where in them each of the parts is.
int64_t ssd_pending_size(int64_t heads, int64_t head_dim, int64_t groups, int64_t states);
SsdPending ssd_pending_at(float* memory, int64_t heads, int64_t head_dim, int64_t groups,
                          int64_t states);

// A call of one token reads its B where it is pending: before such a call, or before the first of
// its ranges of heads, this puts it there.
void ssd_keep_b(const SsdScanArgs& args);

// The call's tokens from `first` on, `count` of them.
SsdScanArgs ssd_part(SsdScanArgs args, int64_t first, int64_t count);

// Floats of working memory that a call needs with any variant.
int64_t ssd_scan_work(const SsdScanArgs& args);

// No allocation, errors or globals. Bit-equal in any range of heads. However tokens are cut into
// calls, equal within the bound; bit-equal if calls of more than one token are cut at multiples of
// kSsdBlock:
//   |y - y_scalar| <= 16 (states + 72 + tokens / 8) eps (sum over n of H[n] |C[n]| + |D x|)
// where H is the recurrence run on absolute values; and likewise the state, by H[n]. A decay has a
// relative error of (1.5 + |dt A|) eps; the tokens count as the state is FP32 between them (scalar)
// or between chunks. Where `rounded`, 2^-6 is added to the bound's factor (four
// roundings to 8 bits), and magnitudes below 2^-126 count as zero. An FP16 state adds 2^-11 for
// each time that it is rounded: at multiples of kSsdBlock, at the end of every call of more than
// one token, and every kSsdPending tokens alone; what is beyond 65504 is lost.
using SsdScan = void(const SsdScanArgs&);

std::span<const Variant<SsdScan>> ssd_scan_variants();

}  // namespace klens::cpu
