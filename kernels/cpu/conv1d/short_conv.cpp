#include "kernels/cpu/conv1d/short_conv.h"

namespace klens::cpu {

// Each defined in the file of that name.
ShortConv short_conv_avx512, short_conv_avx2, short_conv_scalar;

static constexpr Variant<ShortConv> kVariants[] = {
    {"avx512", kAvx2 | kAvx512, short_conv_avx512},
    {"avx2", kAvx2, short_conv_avx2},
    {"scalar", kBaseline, short_conv_scalar},
};

std::span<const Variant<ShortConv>> short_conv_variants() { return kVariants; }

}  // namespace klens::cpu
