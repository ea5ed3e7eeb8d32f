// The source of linear_i8_amx.cpp over a software model of the AMX tiles, so that machines with
// AVX-512 alone test it. Built with the flags of linear_i8_avx512vnni.cpp and held to
// kernels/README.md's rule for such files.
#include "kernels/cpu/linear/linear_i8_vnni512.h"
#include "tests/kernels/tile_model.h"
// The source that is written in terms of Tiles and Simd.
#include "kernels/cpu/linear/linear_i8_amx.h"

namespace klens::cpu {

LinearI8 linear_i8_amx_emulated, linear_i8_avx512vnni;

void linear_i8_amx_emulated(const LinearI8Args& a) { multiply_all_amx(a, linear_i8_avx512vnni); }

}  // namespace klens::cpu
