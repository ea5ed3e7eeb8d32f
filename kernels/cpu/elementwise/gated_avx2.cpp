// Built with -mavx2 -mfma -mf16c. See kernels/README.md for the one rule of such files.
#include "kernels/cpu/vec_avx2.h"
// This one computes with what the one before defines.
#include "kernels/cpu/elementwise/gated_simd.h"

namespace klens::cpu {

Gated gated_silu_avx2, gated_gelu_avx2, gated_sigmoid_avx2;

void gated_silu_avx2(const GatedArgs& a) { gate<silu>(a); }
void gated_gelu_avx2(const GatedArgs& a) { gate<gelu>(a); }
void gated_sigmoid_avx2(const GatedArgs& a) { gate<sigmoid>(a); }

}  // namespace klens::cpu
