// Built with -mavx512f -mavx512bw -mavx512dq -mavx512vl and AVX2's flags. See kernels/README.md for
// the one rule of such files.
#include "kernels/cpu/vec_avx512.h"
// This one computes with what the one before defines.
#include "kernels/cpu/conv1d/short_conv_simd.h"

namespace klens::cpu {

ShortConv short_conv_avx512;

void short_conv_avx512(const ShortConvArgs& a) { convolve(a); }

}  // namespace klens::cpu
