// Built with -mavx2 -mfma -mf16c. See kernels/README.md for the one rule of such files.
#include "kernels/cpu/vec_avx2.h"
// This one computes with what the one before defines.
#include "kernels/cpu/norm/rms_norm_simd.h"

namespace klens::cpu {

RmsNorm rms_norm_avx2;

void rms_norm_avx2(const RmsNormArgs& a) { normalise(a); }

}  // namespace klens::cpu
