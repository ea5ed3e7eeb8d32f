// Built with -mavx512f -mavx512bw -mavx512dq -mavx512vl and AVX2's flags. See kernels/README.md for
// the one rule of such files.
#include "kernels/cpu/vec_avx512.h"
// This one computes with what the one before defines.
#include "kernels/cpu/scan/delta_rule_simd.h"

namespace klens::cpu {

DeltaRule delta_rule_avx512;

void delta_rule_avx512(const DeltaRuleArgs& a) { scan(a); }

}  // namespace klens::cpu
