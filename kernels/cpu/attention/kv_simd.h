// For attention_<isa>.cpp only, after vec_<isa>.h: the element types of a KV cache. Internal
// linkage throughout.
#pragma once
#include <cstdint>

namespace klens::cpu {
namespace {

// A vector of elements as floats, or a tail with zeros after it.
struct KvF32 {
  static constexpr int64_t kBytes = 4;
  static constexpr bool kScaled = false;
  static Vec load(const uint8_t* p) { return cpu::load(reinterpret_cast<const float*>(p)); }
  static Vec load(const uint8_t* p, Tail tail) {
    return cpu::load(reinterpret_cast<const float*>(p), tail);
  }
};

struct KvF16 {
  static constexpr int64_t kBytes = 2;
  static constexpr bool kScaled = false;
  static Vec load(const uint8_t* p) { return load_halves(p); }
  static Vec load(const uint8_t* p, Tail tail) { return load_halves(p, tail); }
};

struct KvI8 {
  static constexpr int64_t kBytes = 1;
  static constexpr bool kScaled = true;
  static Vec load(const uint8_t* p) { return load_bytes(p); }
  static Vec load(const uint8_t* p, Tail tail) { return load_bytes(p, tail); }
};

// A vector of elements from `left` before the end of the row.
template <class T>
inline Vec load_row(const uint8_t* p, int64_t left) {
  return left >= kLanes ? T::load(p) : T::load(p, tail_of(left));
}

}  // namespace
}  // namespace klens::cpu
