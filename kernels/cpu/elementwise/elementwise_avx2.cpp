// Built with -mavx2 -mfma -mf16c. See kernels/README.md for the one rule of such files.
#include "kernels/cpu/vec_avx2.h"
// This one computes with what the one before defines.
#include "kernels/cpu/elementwise/elementwise_simd.h"

namespace klens::cpu {

Elementwise exp_avx2, silu_avx2, softplus_avx2, gelu_avx2, relu2_avx2;

void exp_avx2(const ElementwiseArgs& a) { map<exp_of>(a); }
void silu_avx2(const ElementwiseArgs& a) { map<silu>(a); }
void softplus_avx2(const ElementwiseArgs& a) { map<softplus>(a); }
void gelu_avx2(const ElementwiseArgs& a) { map<gelu>(a); }
void relu2_avx2(const ElementwiseArgs& a) { map<relu2>(a); }

}  // namespace klens::cpu
