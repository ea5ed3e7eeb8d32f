#pragma once
#include <cstdint>

namespace klens {

// How the keys and values of past tokens lie in memory: [rows][kv_heads][dim], contiguous. kI8 is
// symmetric with one FP32 scale per row and head: scale = max|x| / 127, value = q * scale, q in
// [-127, 127], is x * (127 / max|x|) rounded to nearest even; max|x| below 2^-120 gives scale 0 and
// q 0, and x is finite.
enum class KvType : uint8_t { kF32, kF16, kI8 };

constexpr int64_t kv_element_bytes(KvType type) {
  return type == KvType::kF32 ? 4 : type == KvType::kF16 ? 2 : 1;
}

}  // namespace klens
