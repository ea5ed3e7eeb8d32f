#include "kernels/cpu/elementwise/elementwise.h"

namespace klens::cpu {

Elementwise exp_avx512, silu_avx512, softplus_avx512, gelu_avx512, relu2_avx512;
Elementwise exp_avx2, silu_avx2, softplus_avx2, gelu_avx2, relu2_avx2;
Elementwise exp_scalar, silu_scalar, softplus_scalar, gelu_scalar, relu2_scalar;

static constexpr Variant<Elementwise> kExp[] = {
    {"avx512", kAvx2 | kAvx512, exp_avx512},
    {"avx2", kAvx2, exp_avx2},
    {"scalar", kBaseline, exp_scalar},
};
static constexpr Variant<Elementwise> kSilu[] = {
    {"avx512", kAvx2 | kAvx512, silu_avx512},
    {"avx2", kAvx2, silu_avx2},
    {"scalar", kBaseline, silu_scalar},
};
static constexpr Variant<Elementwise> kSoftplus[] = {
    {"avx512", kAvx2 | kAvx512, softplus_avx512},
    {"avx2", kAvx2, softplus_avx2},
    {"scalar", kBaseline, softplus_scalar},
};
static constexpr Variant<Elementwise> kGelu[] = {
    {"avx512", kAvx2 | kAvx512, gelu_avx512},
    {"avx2", kAvx2, gelu_avx2},
    {"scalar", kBaseline, gelu_scalar},
};
static constexpr Variant<Elementwise> kRelu2[] = {
    {"avx512", kAvx2 | kAvx512, relu2_avx512},
    {"avx2", kAvx2, relu2_avx2},
    {"scalar", kBaseline, relu2_scalar},
};

std::span<const Variant<Elementwise>> exp_variants() { return kExp; }
std::span<const Variant<Elementwise>> silu_variants() { return kSilu; }
std::span<const Variant<Elementwise>> softplus_variants() { return kSoftplus; }
std::span<const Variant<Elementwise>> gelu_variants() { return kGelu; }
std::span<const Variant<Elementwise>> relu2_variants() { return kRelu2; }

}  // namespace klens::cpu
