#pragma once
#include <cstdint>
#include <span>

#include "kernels/cpu/variant.h"

namespace klens::cpu {

// Mamba-1 selective scan (arXiv 2312.00752, algorithm 2) with gate, for channels c and states s:
//   h[s][c] = exp(dt[t][c] * A[s][c]) * h[s][c] + dt[t][c] * x[t][c] * B[t][s]
//   y[t][c] = (sum over s of h[s][c] * C[t][s] + D[c] * x[t][c]) * silu(z[t][c])
struct SelectiveScanArgs {
  const float* x;  // [tokens][channels], rows x_stride floats apart: after convolution and SiLU
  int64_t x_stride;
  const float* dt;  // [tokens][channels], rows dt_stride floats apart: after softplus
  int64_t dt_stride;
  const float* z;  // [tokens][channels], rows z_stride floats apart: the gate before SiLU
  int64_t z_stride;
  const float* b;  // [tokens][states], rows bc_stride floats apart
  const float* c;  // [tokens][states], rows bc_stride floats apart
  int64_t bc_stride;
  const float* a;  // [states][channels], negative: -exp(A_log), transposed
  const float* d;  // [channels]
  float* state;    // [states][channels], read and updated
  float* y;        // [tokens][channels], rows y_stride floats apart; may be x itself
  int64_t y_stride;
  int64_t tokens;
  int64_t channels;                    // row length of a and state
  int64_t states;                      // 1 to 256
  int64_t channel_begin, channel_end;  // only these channels are read, written and updated
};

// No allocation, errors or globals. Bit-equal however tokens are cut into calls and channels into
// ranges. A decay exp(dt A) has a relative error of at most (1.5 + 1.2 |dt A|) eps, as dt log2(e)
// is rounded; it is 1 at 0 exactly, and 0 or next to it below 2^-126. |dt A| is
// below 1e25. The recurrence sums these:
// |y - y_scalar| <= 8 * (states + 8) * eps * (sum over s of H[s] |C[s]| + |D x|) * |silu(z)|, where
// H is the recurrence run on absolute values times (1 + number of steps since the state mattered,
// at most 64).
using SelectiveScan = void(const SelectiveScanArgs&);

std::span<const Variant<SelectiveScan>> selective_scan_variants();

}  // namespace klens::cpu
