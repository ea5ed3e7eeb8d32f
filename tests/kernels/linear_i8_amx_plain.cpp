// linear_i8_amx.h over models of its tiles and its registers, for machines without AVX-512.
#define SIMD_MODEL_LANES 16
#include "tests/kernels/simd_model.h"
#include "tests/kernels/tile_model.h"
// The source that is written in terms of Tiles and Simd.
#include "kernels/cpu/linear/linear_i8_amx.h"

namespace klens::cpu {

LinearI8 linear_i8_amx_plain, linear_i8_plain16;

void linear_i8_amx_plain(const LinearI8Args& a) { multiply_all_amx(a, linear_i8_plain16); }

}  // namespace klens::cpu
