// Built with -mavx2 -mfma -mf16c. See kernels/README.md for the one rule of such files.
#include "kernels/cpu/vec_avx2.h"
// This one computes with what the one before defines.
#include "kernels/cpu/rope/rope_simd.h"

namespace klens::cpu {

Rope rope_avx2;

void rope_avx2(const RopeArgs& a) { rotate(a); }

}  // namespace klens::cpu
