#include "kernels/cpu/attention/attention.h"

namespace klens::cpu {

// Each defined in the file of that name.
Attention attention_avx512bf16, attention_avx512, attention_avx2, attention_scalar;

static constexpr Variant<Attention> kVariants[] = {
    {"avx512bf16", kAvx2 | kAvx512 | kAvx512Bf16 | kFastBf16, attention_avx512bf16},
    {"avx512", kAvx2 | kAvx512, attention_avx512},
    {"avx2", kAvx2, attention_avx2},
    {"scalar", kBaseline, attention_scalar},
};

std::span<const Variant<Attention>> attention_variants() { return kVariants; }

// Enough for the pieces of Work in each of the rows' files.
int64_t attention_work(const AttentionArgs& args) {
  constexpr int64_t kKeys = 64, kTileRows = 256;
  const int64_t group = args.heads / args.kv_heads;
  const int64_t rows = group > kTileRows ? group : kTileRows;
  const int64_t k_dim = args.k_dim + 15, v_dim = args.v_dim + 15;
  return kKeys * (k_dim + v_dim) + rows * (k_dim + v_dim + 2);
}

}  // namespace klens::cpu
