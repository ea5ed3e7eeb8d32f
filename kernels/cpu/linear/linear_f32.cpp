#include "kernels/cpu/linear/linear_f32.h"

namespace klens::cpu {

LinearF32 linear_f32_scalar;  // defined in the file of that name

static constexpr Variant<LinearF32> kVariants[] = {
    {"scalar", kBaseline, linear_f32_scalar},
};

std::span<const Variant<LinearF32>> linear_f32_variants() { return kVariants; }

}  // namespace klens::cpu
