#include "kernels/cpu/attention/attention.h"

namespace klens::cpu {

Attention attention_avx2, attention_scalar;  // each defined in the file of that name

static constexpr Variant<Attention> kVariants[] = {
    {"avx2", kAvx2, attention_avx2},
    {"scalar", kBaseline, attention_scalar},
};

std::span<const Variant<Attention>> attention_variants() { return kVariants; }

// See the pieces of Work in attention_avx2.cpp, the one row that needs any.
int64_t attention_work(const AttentionArgs& args) {
  constexpr int64_t kKeys = 64, kTileRows = 96;
  const int64_t group = args.heads / args.kv_heads;
  const int64_t rows = group > kTileRows ? group : kTileRows;
  const int64_t k_dim = args.k_dim + 7, v_dim = args.v_dim + 7;
  return kKeys * (k_dim + v_dim) + rows * (v_dim + 2);
}

}  // namespace klens::cpu
