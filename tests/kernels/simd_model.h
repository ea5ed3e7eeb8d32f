// `struct Simd` of linear_i8_vnni.h and linear_i8_amx.h in plain C++, SIMD_MODEL_LANES lanes wide,
// so that any machine tests these sources. Internal to the file that includes it.
#pragma once
#include <cstdint>
#include <cstring>

#include "kernels/half.h"

namespace klens::cpu {
namespace {

struct Simd {
  static constexpr int64_t kLanes = SIMD_MODEL_LANES;
  static constexpr int kTokens = 3, kFewTokens = 4;  // fewer than the real ones: quick to compile
  static constexpr int streams(int tokens) { return tokens <= 2 ? 2 : 1; }

  struct Ints {
    uint8_t bytes[4 * kLanes];
  };
  struct Floats {
    float v[kLanes];
  };

  // Every byte, 32-bit integer or float of a result from its index.
  template <class F>
  static Ints bytes_of(const F& f) {
    Ints out;
    for (int i = 0; i < 4 * kLanes; ++i) out.bytes[i] = static_cast<uint8_t>(f(i));
    return out;
  }
  template <class F>
  static Ints ints_of(const F& f) {
    Ints out;
    for (int i = 0; i < kLanes; ++i) {
      const auto v = static_cast<uint32_t>(f(i));
      std::memcpy(out.bytes + 4 * i, &v, 4);
    }
    return out;
  }
  template <class F>
  static Floats floats_of(const F& f) {
    Floats out;
    for (int i = 0; i < kLanes; ++i) out.v[i] = f(i);
    return out;
  }
  static int32_t lane(const Ints& v, int i) {
    int32_t out;
    std::memcpy(&out, v.bytes + 4 * i, 4);
    return out;
  }
  static uint32_t wrapping(const Ints& v, int i) { return static_cast<uint32_t>(lane(v, i)); }

  static Ints zero() { return {}; }
  static Ints load(const uint8_t* p) {
    return bytes_of([&](int i) { return p[i]; });
  }
  static void prefetch(const uint8_t*) {}
  // Shifts move bits between the bytes of a 16-bit number, as the instructions do. To the left by
  // Shift, or to the right by -Shift.
  template <int Shift>
  static int shifted(const Ints& v, int i) {
    const int pair = v.bytes[i / 2 * 2] | v.bytes[i / 2 * 2 + 1] << 8;
    const int moved =
        Shift > 0 ? pair << (Shift > 0 ? Shift : 0) : pair >> (Shift > 0 ? 0 : -Shift);
    return moved >> i % 2 * 8;
  }
  template <int Shift, int Mask>
  static Ints bits(const Ints& v) {
    return bytes_of([&](int i) { return shifted<-Shift>(v, i) & Mask; });
  }
  template <int Shift, int Mask>
  static Ints with_bits(const Ints& low, const Ints& plane) {
    return bytes_of([&](int i) { return low.bytes[i] | (shifted<Shift>(plane, i) & Mask); });
  }
  static Ints flip_sign(const Ints& v) {
    return bytes_of([&](int i) { return v.bytes[i] ^ 128; });
  }
  static Ints add(const Ints& a, const Ints& b) {
    return ints_of([&](int i) { return wrapping(a, i) + wrapping(b, i); });
  }
  // VPDPBUSD: unsigned by signed bytes.
  static void dot(Ints& sum, const Ints& w, const Ints& x) {
    sum = ints_of([&](int i) {
      int products = 0;
      for (int j = 4 * i; j < 4 * i + 4; ++j)
        products += w.bytes[j] * static_cast<int8_t>(x.bytes[j]);
      return wrapping(sum, i) + static_cast<uint32_t>(products);
    });
  }
  static Ints broadcast4(const int8_t* x) {
    return bytes_of([&](int i) { return x[i % 4]; });
  }
  template <int Shift>
  static Ints minus_scaled(int32_t v) {
    return ints_of([&](int) { return -(static_cast<uint32_t>(v) << Shift); });
  }
  static Floats zero_floats() { return {}; }
  static Floats broadcast(float v) {
    return floats_of([&](int) { return v; });
  }
  static Floats to_floats(const Ints& v) {
    return floats_of([&](int i) { return static_cast<float>(lane(v, i)); });
  }
  static Floats load_f16(const uint16_t* p) {
    return floats_of([&](int i) { return f16_to_f32(p[i]); });
  }
  static Floats multiply(const Floats& a, const Floats& b) {
    return floats_of([&](int i) { return a.v[i] * b.v[i]; });
  }
  static Floats multiply_add(const Floats& a, const Floats& b, const Floats& c) {
    return floats_of([&](int i) {
      return static_cast<float>(double{a.v[i]} * double{b.v[i]} + double{c.v[i]});
    });
  }
  static Ints load_ints(const int32_t* p) {
    return ints_of([&](int i) { return p[i]; });
  }
  static Floats load_floats(const float* p) {
    return floats_of([&](int i) { return p[i]; });
  }
  static Ints broadcast_byte(int v) {
    return bytes_of([&](int) { return v; });
  }
  static Ints subtract_bytes(const Ints& a, const Ints& b) {
    return bytes_of([&](int i) { return a.bytes[i] - b.bytes[i]; });
  }
  static void store_bytes(uint8_t* p, const Ints& v) { std::memcpy(p, v.bytes, sizeof v.bytes); }
  static void store(float* y, const Floats& v) { store_some(y, v, kLanes); }
  static void store_some(float* y, const Floats& v, int64_t count) {
    for (int64_t i = 0; i < count && i < kLanes; ++i) y[i] = v.v[i];
  }
};

}  // namespace
}  // namespace klens::cpu
