#include "kernels/cpu/linear/linear_i8.h"

namespace klens::cpu {

// Each defined in the file of that name.
LinearI8 linear_i8_amx, linear_i8_avx512vnni, linear_i8_avxvnni, linear_i8_avx2, linear_i8_scalar;

static constexpr Variant<LinearI8> kVariants[] = {
    {"amx", kAvx2 | kAvx512 | kAvx512Vnni | kAmxInt8, linear_i8_amx},
    {"avx512vnni", kAvx2 | kAvx512 | kAvx512Vnni, linear_i8_avx512vnni},
    {"avxvnni", kAvx2 | kAvxVnni, linear_i8_avxvnni},
    {"avx2", kAvx2, linear_i8_avx2},
    {"scalar", kBaseline, linear_i8_scalar},
};

std::span<const Variant<LinearI8>> linear_i8_variants() { return kVariants; }

}  // namespace klens::cpu
