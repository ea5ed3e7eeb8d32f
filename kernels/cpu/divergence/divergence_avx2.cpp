// Built with -mavx2 -mfma -mf16c. See kernels/README.md for the one rule of such files.
#include "kernels/cpu/vec_avx2.h"
// This one computes with what the one before defines.
#include "kernels/cpu/divergence/divergence_simd.h"

namespace klens::cpu {

DivergenceFn divergence_avx2;
LogSumExpFn log_sum_exp_avx2;

Divergence divergence_avx2(const DivergenceArgs& a) { return divergence(a); }

double log_sum_exp_avx2(const float* z, int64_t vocab) { return log_sum_exp(z, vocab); }

}  // namespace klens::cpu
