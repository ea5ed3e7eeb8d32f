#include "kernels/cpu/linear/linear_i8.h"

namespace klens::cpu {

LinearI8 linear_i8_avx2, linear_i8_scalar;  // each defined in the file of that name

static constexpr Variant<LinearI8> kVariants[] = {
    {"avx2", kAvx2, linear_i8_avx2},
    {"scalar", kBaseline, linear_i8_scalar},
};

std::span<const Variant<LinearI8>> linear_i8_variants() { return kVariants; }

}  // namespace klens::cpu
