// Built with -mavx512f -mavx512bw -mavx512dq -mavx512vl and AVX2's flags. See kernels/README.md for
// the one rule of such files.
#include "kernels/cpu/vec_avx512.h"
// This one computes with what the one before defines.
#include "kernels/cpu/attention/attention_simd.h"

namespace klens::cpu {

Attention attention_avx512;

void attention_avx512(const AttentionArgs& a) { attend(a); }

}  // namespace klens::cpu
