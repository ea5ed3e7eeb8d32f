#include "kernels/cpu/rope/rope.h"

namespace klens::cpu {

Rope rope_avx512, rope_avx2, rope_scalar;  // each defined in the file of that name

static constexpr Variant<Rope> kVariants[] = {
    {"avx512", kAvx2 | kAvx512, rope_avx512},
    {"avx2", kAvx2, rope_avx2},
    {"scalar", kBaseline, rope_scalar},
};

std::span<const Variant<Rope>> rope_variants() { return kVariants; }

}  // namespace klens::cpu
