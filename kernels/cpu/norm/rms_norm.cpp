#include "kernels/cpu/norm/rms_norm.h"

namespace klens::cpu {

RmsNorm rms_norm_avx512, rms_norm_avx2, rms_norm_scalar;  // each defined in the file of that name

static constexpr Variant<RmsNorm> kVariants[] = {
    {"avx512", kAvx2 | kAvx512, rms_norm_avx512},
    {"avx2", kAvx2, rms_norm_avx2},
    {"scalar", kBaseline, rms_norm_scalar},
};

std::span<const Variant<RmsNorm>> rms_norm_variants() { return kVariants; }

}  // namespace klens::cpu
