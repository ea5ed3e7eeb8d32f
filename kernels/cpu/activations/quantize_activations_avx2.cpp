// Built with -mavx2 -mfma -mf16c. See kernels/README.md for the one rule of such files.
#include "kernels/cpu/vec_avx2.h"
// This one computes with what the one before defines.
#include "kernels/cpu/activations/quantize_activations_simd.h"

namespace klens::cpu {

QuantizeActivations quantize_activations_avx2;

void quantize_activations_avx2(const QuantizeActivationsArgs& a) { quantize(a); }

}  // namespace klens::cpu
