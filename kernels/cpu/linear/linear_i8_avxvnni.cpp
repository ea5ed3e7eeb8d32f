// Built with -mavx2 -mfma -mf16c -mavxvnni. See kernels/README.md for the one rule of such files.
#include "kernels/cpu/linear/linear_i8_vnni256.h"
// The source that is written in terms of Simd.
#include "kernels/cpu/linear/linear_i8_vnni.h"

namespace klens::cpu {

LinearI8 linear_i8_avxvnni;

void linear_i8_avxvnni(const LinearI8Args& a) { multiply_all(a); }

}  // namespace klens::cpu
