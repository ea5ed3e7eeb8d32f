// Built with the flags of linear_i8_avx512vnni.cpp and -mamx-tile -mamx-int8. See kernels/README.md
// for the one rule of such files.
#include "kernels/cpu/linear/amx_tiles.h"
#include "kernels/cpu/linear/linear_i8_vnni512.h"
// The source that is written in terms of Tiles and Simd.
#include "kernels/cpu/linear/linear_i8_amx.h"

namespace klens::cpu {

LinearI8 linear_i8_amx, linear_i8_avx512vnni;

void linear_i8_amx(const LinearI8Args& a) { multiply_all_amx(a, linear_i8_avx512vnni); }

}  // namespace klens::cpu
