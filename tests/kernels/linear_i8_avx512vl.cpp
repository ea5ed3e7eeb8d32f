// The AVX-VNNI variant's source in AVX-512's encoding, so that machines without AVX-VNNI test it.
// Built with -mavx2 -mfma -mf16c -mavx512f -mavx512vl -mavx512vnni. See kernels/README.md for the
// one rule of such files.
#include "kernels/cpu/linear/linear_i8_vnni256.h"
// The source that is written in terms of Simd.
#include "kernels/cpu/linear/linear_i8_vnni.h"

namespace klens::cpu {

LinearI8 linear_i8_avx512vl;

void linear_i8_avx512vl(const LinearI8Args& a) { multiply_all(a); }

}  // namespace klens::cpu
