// Built with -mavx512f -mavx512bw -mavx512dq -mavx512vl and AVX2's flags. See kernels/README.md for
// the one rule of such files.
#include "kernels/cpu/vec_avx512.h"
// This one computes with what the one before defines.
#include "kernels/cpu/conv1d/conv1d_simd.h"

namespace klens::cpu {

Conv1d conv1d_avx512;

void conv1d_avx512(const Conv1dArgs& a) { convolve(a); }

}  // namespace klens::cpu
