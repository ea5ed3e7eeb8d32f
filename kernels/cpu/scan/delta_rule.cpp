#include "kernels/cpu/scan/delta_rule.h"

namespace klens::cpu {

// Each defined in the file of that name.
DeltaRule delta_rule_avx512bf16, delta_rule_avx512, delta_rule_avx2, delta_rule_scalar;

static constexpr Variant<DeltaRule> kVariants[] = {
    {"avx512bf16", kAvx2 | kAvx512 | kAvx512Bf16 | kFastBf16, delta_rule_avx512bf16},
    {"avx512", kAvx2 | kAvx512, delta_rule_avx512},
    {"avx2", kAvx2, delta_rule_avx2},
    {"scalar", kBaseline, delta_rule_scalar},
};

std::span<const Variant<DeltaRule>> delta_rule_variants() { return kVariants; }

// The pieces of Work in delta_rule_simd.h: keys, queries and keys transposed; two triangles; two
// strips of values, numbers by token, and a state whose sizes are odd. And behind them those of
// Rounded in delta_rule_avx512bf16.cpp, of half the size.
int64_t delta_rule_work(const DeltaRuleArgs& args) {
  constexpr int64_t kStrip = 32;
  const int64_t keys = (args.k_dim + 15) / 16 * 16;
  const int64_t values = (args.v_dim + kStrip - 1) / kStrip * kStrip;
  const int64_t rounded = kDeltaChunk * (2 * keys + kDeltaChunk / 2 + kStrip) + keys * kStrip / 2;
  return kDeltaChunk * (3 * keys + 2 * kDeltaChunk + 2 * kStrip + 8) + keys * (values + 5) +
         (args.rounded ? rounded : 0);
}

}  // namespace klens::cpu
