#include "kernels/cpu/activations/quantize_activations.h"

namespace klens::cpu {

QuantizeActivations quantize_activations_avx2,
    quantize_activations_scalar;  // each defined in the file of that name

static constexpr Variant<QuantizeActivations> kVariants[] = {
    {"avx2", kAvx2, quantize_activations_avx2},
    {"scalar", kBaseline, quantize_activations_scalar},
};

std::span<const Variant<QuantizeActivations>> quantize_activations_variants() { return kVariants; }

}  // namespace klens::cpu
