// Built with -mavx2 -mfma -mf16c. See kernels/README.md for the one rule of such files.
#include "kernels/cpu/vec_avx2.h"
// This one computes with what the one before defines.
#include "kernels/cpu/attention/attention_simd.h"

namespace klens::cpu {

Attention attention_avx2;

void attention_avx2(const AttentionArgs& a) { attend(a); }

}  // namespace klens::cpu
