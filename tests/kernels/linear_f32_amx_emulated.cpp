// The source of linear_f32_amx.cpp over a software model of the AMX tiles, so that machines with
// AVX512-BF16 alone test it. Held to kernels/README.md's rule for such files.
#include "tests/kernels/tile_model.h"
// The source that is written in terms of Tiles.
#include "kernels/cpu/linear/linear_f32_amx.h"

namespace klens::cpu {

LinearF32 linear_f32_amx_emulated, linear_f32_avx512;

void linear_f32_amx_emulated(const LinearF32Args& a) { multiply_halves_amx(a, linear_f32_avx512); }

}  // namespace klens::cpu
