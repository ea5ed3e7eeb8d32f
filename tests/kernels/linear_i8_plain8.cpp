// linear_i8_vnni.h over a model of registers of 8 lanes, for machines without any that has
// VPDPBUSD.
#define SIMD_MODEL_LANES 8
#include "tests/kernels/simd_model.h"
// The source that is written in terms of Simd.
#include "kernels/cpu/linear/linear_i8_vnni.h"

namespace klens::cpu {

LinearI8 linear_i8_plain8;

void linear_i8_plain8(const LinearI8Args& a) { multiply_all(a); }

}  // namespace klens::cpu
