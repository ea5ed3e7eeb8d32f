// Built with -mavx2 -mfma -mf16c. See kernels/README.md for the one rule of such files.
#include "kernels/cpu/vec_avx2.h"
// This one computes with what the one before defines.
#include "kernels/cpu/conv1d/short_conv_simd.h"

namespace klens::cpu {

ShortConv short_conv_avx2;

void short_conv_avx2(const ShortConvArgs& a) { convolve(a); }

}  // namespace klens::cpu
