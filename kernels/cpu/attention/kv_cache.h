#pragma once
#include <cstdint>
#include <span>

#include "kernels/cpu/variant.h"
#include "kernels/kv_type.h"

namespace klens::cpu {

using klens::KvType;
using klens::kv_element_bytes;

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

// Every variant gives the same bits.
using StoreKv = void(const StoreKvArgs&);

std::span<const Variant<StoreKv>> store_kv_variants();

}  // namespace klens::cpu
