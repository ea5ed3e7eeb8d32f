#include "kernels/cpu/elementwise/elementwise.h"

namespace klens::cpu {

Elementwise exp_avx2, silu_avx2, softplus_avx2;        // elementwise_avx2.cpp
Elementwise exp_scalar, silu_scalar, softplus_scalar;  // elementwise_scalar.cpp

static constexpr Variant<Elementwise> kExp[] = {
    {"avx2", kAvx2, exp_avx2},
    {"scalar", kBaseline, exp_scalar},
};
static constexpr Variant<Elementwise> kSilu[] = {
    {"avx2", kAvx2, silu_avx2},
    {"scalar", kBaseline, silu_scalar},
};
static constexpr Variant<Elementwise> kSoftplus[] = {
    {"avx2", kAvx2, softplus_avx2},
    {"scalar", kBaseline, softplus_scalar},
};

std::span<const Variant<Elementwise>> exp_variants() { return kExp; }
std::span<const Variant<Elementwise>> silu_variants() { return kSilu; }
std::span<const Variant<Elementwise>> softplus_variants() { return kSoftplus; }

}  // namespace klens::cpu
