// Built with -mavx2 -mfma -mf16c. See kernels/README.md for the one rule of such files.
#include "kernels/cpu/vec_avx2.h"
// This one computes with what the one before defines.
#include "kernels/cpu/conv1d/conv1d_simd.h"

namespace klens::cpu {

Conv1d conv1d_avx2;

void conv1d_avx2(const Conv1dArgs& a) { convolve(a); }

}  // namespace klens::cpu
