// Shared by linear_i8_avx512vnni.cpp and linear_i8_amx.h only, for linear_i8_vnni.h: 512-bit
// registers, so a vector is a tile row. The integer and the FP32 sums of 7 tokens x 2 rows all lie
// in registers; with more, a group of 32 columns is too short to hide that the latter do not.
#pragma once
#include <immintrin.h>

#include <cstdint>

namespace klens::cpu {
namespace {

struct Simd {
  using Ints = __m512i;
  using Floats = __m512;
  static constexpr int64_t kLanes = 16;
#ifdef KLENS_SANITIZED
  static constexpr int kTokens = 2, kFewTokens = 2;  // more takes compilers minutes
#else
  static constexpr int kTokens = 7, kFewTokens = 8;
#endif
  // Runs of weights that so many tokens read in turn.
  static constexpr int streams(int tokens) { return tokens <= 3 ? 4 : 2; }

  static Ints zero() { return _mm512_setzero_si512(); }
  static Ints load(const uint8_t* p) { return _mm512_load_si512(p); }
  static void prefetch(const uint8_t* p) { _mm_prefetch(p, _MM_HINT_T0); }
  // Of every byte the bits that lie in Mask once it is shifted to the right.
  template <int Shift, int Mask>
  static Ints bits(Ints v) {
    if constexpr (Shift > 0) v = _mm512_srli_epi16(v, Shift);
    return _mm512_and_si512(v, _mm512_set1_epi8(Mask));
  }
  // Low bits and those of `plane` that lie in Mask once it is shifted (to the right by -Shift).
  template <int Shift, int Mask>
  static Ints with_bits(Ints low, Ints plane) {
    Ints bits = plane;
    if constexpr (Shift > 0) bits = _mm512_slli_epi16(plane, Shift);
    if constexpr (Shift < 0) bits = _mm512_srli_epi16(plane, -Shift);
    constexpr int kOrAnd = 0xf8;  // a | (b & c)
    return _mm512_ternarylogic_epi32(low, bits, _mm512_set1_epi8(Mask), kOrAnd);
  }
  static Ints flip_sign(Ints v) { return _mm512_xor_si512(v, _mm512_set1_epi8(-128)); }
  static Ints add(Ints a, Ints b) { return _mm512_add_epi32(a, b); }
  // In words of assembly, as GCC 12 copies the sums of its own intrinsic from register to register.
  static void dot(Ints& sum, Ints w, Ints x) {
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(w), "v"(x));
  }
  static Ints broadcast4(const int8_t* x) {
    int32_t four;
    __builtin_memcpy(&four, x, 4);
    return _mm512_set1_epi32(four);
  }
  template <int Shift>
  static Ints minus_scaled(int32_t v) {
    return _mm512_sub_epi32(zero(), _mm512_slli_epi32(_mm512_set1_epi32(v), Shift));
  }
  static Floats zero_floats() { return _mm512_setzero_ps(); }
  static Floats broadcast(float v) { return _mm512_set1_ps(v); }
  static Floats to_floats(Ints v) { return _mm512_cvtepi32_ps(v); }
  static Floats load_f16(const uint16_t* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static Floats multiply(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
  static Floats multiply_add(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
  // For linear_i8_amx.h, over aligned memory.
  static Ints load_ints(const int32_t* p) { return _mm512_load_si512(p); }
  static Floats load_floats(const float* p) { return _mm512_load_ps(p); }
  static Ints broadcast_byte(int v) { return _mm512_set1_epi8(static_cast<char>(v)); }
  static Ints subtract_bytes(Ints a, Ints b) { return _mm512_sub_epi8(a, b); }
  static void store_bytes(uint8_t* p, Ints v) { _mm512_store_si512(p, v); }

  static void store(float* y, Floats v) { _mm512_storeu_ps(y, v); }
  // The first `count` lanes, if any.
  static void store_some(float* y, Floats v, int64_t count) {
    const int64_t lanes = count < 0 ? 0 : count < kLanes ? count : kLanes;
    _mm512_mask_storeu_ps(y, static_cast<__mmask16>((1u << lanes) - 1), v);
  }
};

}  // namespace
}  // namespace klens::cpu
