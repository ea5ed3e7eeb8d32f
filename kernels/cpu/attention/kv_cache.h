#pragma once
#include <cstdint>
#include <span>

#include "kernels/cpu/variant.h"

namespace klens::cpu {

// How the keys and values of past tokens lie in memory: [rows][kv_heads][dim], contiguous. kI8 is
// symmetric with one FP32 scale per row and head: scale = max|x| / 127, value = q * scale, q in
// [-127, 127], is x * (127 / max|x|) rounded to nearest even; max|x| below 2^-120 gives scale 0 and
// q 0, and x is finite.
enum class KvType : uint8_t { kF32, kF16, kI8 };

constexpr int64_t kv_element_bytes(KvType type) {
  return type == KvType::kF32 ? 4 : type == KvType::kF16 ? 2 : 1;
}

// Rows of keys (or of values) into a cache. FP16 rounds to nearest even, saturating at 65504;
// NaN stays NaN.
struct StoreKvArgs {
  const float* x;  // [rows][heads][dim], rows x_stride floats apart
  int64_t x_stride;
  KvType type;
  void* to;      // [rows][heads][dim] of the type
  float* scale;  // [rows][heads]; kI8 only
  int64_t rows, heads, dim;
};

// Every row of the table gives the same bits.
using StoreKv = void(const StoreKvArgs&);

std::span<const Variant<StoreKv>> store_kv_variants();

}  // namespace klens::cpu
