// Built with -mavx512f -mavx512bw -mavx512dq -mavx512vl and AVX2's flags. See kernels/README.md for
// the one rule of such files.
#include "kernels/cpu/vec_avx512.h"
// This one computes with what the one before defines.
#include "kernels/cpu/elementwise/gated_simd.h"

namespace klens::cpu {

Gated gated_silu_avx512, gated_gelu_avx512, gated_sigmoid_avx512;

void gated_silu_avx512(const GatedArgs& a) { gate<silu>(a); }
void gated_gelu_avx512(const GatedArgs& a) { gate<gelu>(a); }
void gated_sigmoid_avx512(const GatedArgs& a) { gate<sigmoid>(a); }

}  // namespace klens::cpu
