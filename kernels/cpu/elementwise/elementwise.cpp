#include "kernels/cpu/elementwise/elementwise.h"

namespace klens::cpu {

Elementwise exp_scalar, silu_scalar, softplus_scalar;  // elementwise_scalar.cpp

static constexpr Variant<Elementwise> kExp[] = {
    {"scalar", kBaseline, exp_scalar},
};
static constexpr Variant<Elementwise> kSilu[] = {
    {"scalar", kBaseline, silu_scalar},
};
static constexpr Variant<Elementwise> kSoftplus[] = {
    {"scalar", kBaseline, softplus_scalar},
};

std::span<const Variant<Elementwise>> exp_variants() { return kExp; }
std::span<const Variant<Elementwise>> silu_variants() { return kSilu; }
std::span<const Variant<Elementwise>> softplus_variants() { return kSoftplus; }

}  // namespace klens::cpu
