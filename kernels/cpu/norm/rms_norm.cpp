#include "kernels/cpu/norm/rms_norm.h"

namespace klens::cpu {

RmsNorm rms_norm_scalar;  // defined in the file of that name

static constexpr Variant<RmsNorm> kVariants[] = {
    {"scalar", kBaseline, rms_norm_scalar},
};

std::span<const Variant<RmsNorm>> rms_norm_variants() { return kVariants; }

}  // namespace klens::cpu
