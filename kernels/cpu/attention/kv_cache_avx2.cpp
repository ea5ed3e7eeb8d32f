// Built with -mavx2 -mfma -mf16c. See kernels/README.md for the one rule of such files.
#include "kernels/cpu/vec_avx2.h"
// This one computes with what the one before defines.
#include "kernels/cpu/attention/kv_cache_simd.h"

namespace klens::cpu {

StoreKv store_kv_avx2;

void store_kv_avx2(const StoreKvArgs& a) { store_kv(a); }

}  // namespace klens::cpu
