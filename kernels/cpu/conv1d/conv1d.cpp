#include "kernels/cpu/conv1d/conv1d.h"

namespace klens::cpu {

Conv1d conv1d_avx512, conv1d_avx2, conv1d_scalar;  // each defined in the file of that name

static constexpr Variant<Conv1d> kVariants[] = {
    {"avx512", kAvx2 | kAvx512, conv1d_avx512},
    {"avx2", kAvx2, conv1d_avx2},
    {"scalar", kBaseline, conv1d_scalar},
};

std::span<const Variant<Conv1d>> conv1d_variants() { return kVariants; }

}  // namespace klens::cpu
