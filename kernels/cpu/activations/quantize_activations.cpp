#include "kernels/cpu/activations/quantize_activations.h"

namespace klens::cpu {

// Each defined in the file of that name.
QuantizeActivations quantize_activations_avx512, quantize_activations_avx2,
    quantize_activations_scalar;

static constexpr Variant<QuantizeActivations> kVariants[] = {
    {"avx512", kAvx2 | kAvx512, quantize_activations_avx512},
    {"avx2", kAvx2, quantize_activations_avx2},
    {"scalar", kBaseline, quantize_activations_scalar},
};

std::span<const Variant<QuantizeActivations>> quantize_activations_variants() { return kVariants; }

}  // namespace klens::cpu
