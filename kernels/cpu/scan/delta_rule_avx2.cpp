// Built with -mavx2 -mfma -mf16c. See kernels/README.md for the one rule of such files.
#include "kernels/cpu/vec_avx2.h"
// This one computes with what the one before defines.
#include "kernels/cpu/scan/delta_rule_simd.h"

namespace klens::cpu {

DeltaRule delta_rule_avx2;

void delta_rule_avx2(const DeltaRuleArgs& a) { scan(a); }

}  // namespace klens::cpu
