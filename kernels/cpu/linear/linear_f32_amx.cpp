// Built with the flags of linear_f32_avx512bf16.cpp and -mamx-tile -mamx-bf16. See
// kernels/README.md for the one rule of such files.
#include "kernels/cpu/linear/amx_tiles.h"
// The source that is written in terms of Tiles.
#include "kernels/cpu/linear/linear_f32_amx.h"

namespace klens::cpu {

LinearF32 linear_f32_amx, linear_f32_avx512;

void linear_f32_amx(const LinearF32Args& a) { multiply_halves_amx(a, linear_f32_avx512); }

}  // namespace klens::cpu
