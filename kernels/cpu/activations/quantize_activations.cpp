#include "kernels/cpu/activations/quantize_activations.h"

namespace klens::cpu {

QuantizeActivations quantize_activations_scalar;  // defined in the file of that name

static constexpr Variant<QuantizeActivations> kVariants[] = {
    {"scalar", kBaseline, quantize_activations_scalar},
};

std::span<const Variant<QuantizeActivations>> quantize_activations_variants() { return kVariants; }

}  // namespace klens::cpu
