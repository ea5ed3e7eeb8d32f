// Built with -mavx512f -mavx512bw -mavx512dq -mavx512vl and AVX2's flags. See kernels/README.md for
// the one rule of such files.
#include "kernels/cpu/vec_avx512.h"
// This one computes with what the one before defines.
#include "kernels/cpu/divergence/divergence_simd.h"

namespace klens::cpu {

DivergenceFn divergence_avx512;
LogSumExpFn log_sum_exp_avx512;

Divergence divergence_avx512(const DivergenceArgs& a) { return divergence(a); }

double log_sum_exp_avx512(const float* z, int64_t vocab) { return log_sum_exp(z, vocab); }

}  // namespace klens::cpu
