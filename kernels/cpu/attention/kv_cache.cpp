#include "kernels/cpu/attention/kv_cache.h"

namespace klens::cpu {

StoreKv store_kv_avx512, store_kv_avx2, store_kv_scalar;  // each defined in kv_cache_<isa>.cpp

static constexpr Variant<StoreKv> kVariants[] = {
    {"avx512", kAvx2 | kAvx512, store_kv_avx512},
    {"avx2", kAvx2, store_kv_avx2},
    {"scalar", kBaseline, store_kv_scalar},
};

std::span<const Variant<StoreKv>> store_kv_variants() { return kVariants; }

}  // namespace klens::cpu
