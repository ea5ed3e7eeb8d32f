#pragma once
#include <cstdint>
#include <span>

#include "kernels/cpu/variant.h"

namespace klens::cpu {

// Mamba-2's state space dual scan (arXiv 2405.21060, sec. 3 and 6). For every head h, its group g =
// h / (heads / groups), states n and channels p of the head:
//   H[n][p] = exp(dt[t][h] A[h]) H[n][p] + dt[t][h] B[t][g][n] x[t][h][p]
//   y[t][h][p] = sum over n of C[t][g][n] H[n][p] + D[h] x[t][h][p]
// One token, or few, go by this recurrence; many in chunks, as matrix products.
struct SsdScanArgs {
  const float* x;  // [tokens][heads][head_dim], rows x_stride floats apart: after conv and SiLU
  int64_t x_stride;
  const float* dt;  // [tokens][heads], rows dt_stride floats apart: after softplus and clamp, >= 0
  int64_t dt_stride;
  const float* b;  // [tokens][groups][states], rows bc_stride floats apart
  const float* c;  // [tokens][groups][states], rows bc_stride floats apart
  int64_t bc_stride;
  const float* a;  // [heads], negative: -exp(A_log)
  const float* d;  // [heads]
  float* state;    // [heads][states][head_dim], read and updated
  float* y;        // [tokens][heads][head_dim], rows y_stride floats apart; must not overlap x
  int64_t y_stride;
  int64_t tokens;
  int64_t heads, head_dim, groups, states;  // any sizes; groups divides heads
  int64_t head_begin, head_end;             // only these heads are read, written and updated
  float* work;           // [ssd_scan_work(*this)] floats, uninitialised; the call's own
  bool rounded = false;  // rows that can may round what chunks multiply to BF16
};

// Floats of working memory that a call needs on any row of the table.
int64_t ssd_scan_work(const SsdScanArgs& args);

// No allocation, errors or globals. Bit-equal in any range of heads. However tokens are cut into
// calls, equal within the bound; bit-equal if every call but the last has a multiple of 64:
//   |y - y_scalar| <= 16 (states + 72 + tokens / 8) eps (sum over n of H[n] |C[n]| + |D x|)
// where H is the recurrence run on absolute values; and likewise the state, by H[n]. A decay has a
// relative error of (1.5 + |dt A|) eps; the tokens count as the state is FP32 between them (scalar)
// or between chunks. Where `rounded`, 2^-6 is added to the bound's factor (four
// roundings to 8 bits), and magnitudes below 2^-126 count as zero.
using SsdScan = void(const SsdScanArgs&);

std::span<const Variant<SsdScan>> ssd_scan_variants();

}  // namespace klens::cpu
