#include "kernels/cpu/linear/linear_f32.h"

namespace klens::cpu {

LinearF32 linear_f32_amx, linear_f32_avx512bf16, linear_f32_avx512, linear_f32_avx2,
    linear_f32_scalar;  // each defined in the file of that name

static constexpr Variant<LinearF32> kVariants[] = {
    {"amx", kAvx2 | kAvx512 | kAvx512Bf16 | kAmxInt8 | kAmxBf16, linear_f32_amx},
    {"avx512bf16", kAvx2 | kAvx512 | kAvx512Bf16 | kFastBf16, linear_f32_avx512bf16},
    {"avx512", kAvx2 | kAvx512, linear_f32_avx512},
    {"avx2", kAvx2, linear_f32_avx2},
    {"scalar", kBaseline, linear_f32_scalar},
};

std::span<const Variant<LinearF32>> linear_f32_variants() { return kVariants; }

}  // namespace klens::cpu
