#include "kernels/cpu/elementwise/gated.h"

namespace klens::cpu {

Gated gated_silu_avx512, gated_gelu_avx512, gated_sigmoid_avx512;  // gated_avx512.cpp
Gated gated_silu_avx2, gated_gelu_avx2, gated_sigmoid_avx2;        // gated_avx2.cpp
Gated gated_silu_scalar, gated_gelu_scalar, gated_sigmoid_scalar;  // gated_scalar.cpp

static constexpr Variant<Gated> kSilu[] = {
    {"avx512", kAvx2 | kAvx512, gated_silu_avx512},
    {"avx2", kAvx2, gated_silu_avx2},
    {"scalar", kBaseline, gated_silu_scalar},
};
static constexpr Variant<Gated> kGelu[] = {
    {"avx512", kAvx2 | kAvx512, gated_gelu_avx512},
    {"avx2", kAvx2, gated_gelu_avx2},
    {"scalar", kBaseline, gated_gelu_scalar},
};
static constexpr Variant<Gated> kSigmoid[] = {
    {"avx512", kAvx2 | kAvx512, gated_sigmoid_avx512},
    {"avx2", kAvx2, gated_sigmoid_avx2},
    {"scalar", kBaseline, gated_sigmoid_scalar},
};

std::span<const Variant<Gated>> gated_silu_variants() { return kSilu; }
std::span<const Variant<Gated>> gated_gelu_variants() { return kGelu; }
std::span<const Variant<Gated>> gated_sigmoid_variants() { return kSigmoid; }

}  // namespace klens::cpu
