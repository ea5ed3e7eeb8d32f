// Built with -mavx512f -mavx512bw -mavx512dq -mavx512vl and AVX2's flags. See kernels/README.md for
// the one rule of such files.
#include "kernels/cpu/vec_avx512.h"
// This one computes with what the one before defines.
#include "kernels/cpu/elementwise/elementwise_simd.h"

namespace klens::cpu {

Elementwise exp_avx512, silu_avx512, softplus_avx512, gelu_avx512, relu2_avx512;

void exp_avx512(const ElementwiseArgs& a) { map<exp_of>(a); }
void silu_avx512(const ElementwiseArgs& a) { map<silu>(a); }
void softplus_avx512(const ElementwiseArgs& a) { map<softplus>(a); }
void gelu_avx512(const ElementwiseArgs& a) { map<gelu>(a); }
void relu2_avx512(const ElementwiseArgs& a) { map<relu2>(a); }

}  // namespace klens::cpu
