// Shared by linear_i8_avxvnni.cpp and tests/kernels/linear_i8_avx512vl.cpp only: 256-bit registers,
// of which AVX has 16, so a vector is half a tile row and a block 6 tokens x a whole one. The two
// files differ in the encoding of one instruction, so that machines with either test the source of
// both.
#pragma once
#include <immintrin.h>

#include <cstdint>

namespace klens::cpu {
namespace {

struct Simd {
  using Ints = __m256i;
  using Floats = __m256;
  static constexpr int64_t kLanes = 8;
#ifdef KLENS_SANITIZED
  static constexpr int kTokens = 2, kFewTokens = 2;  // more takes compilers minutes
#else
  static constexpr int kTokens = 6, kFewTokens = 6;
#endif
  // Runs of weights that so many tokens read in turn.
  static constexpr int streams(int tokens) { return tokens == 1 ? 2 : 1; }

  static Ints zero() { return _mm256_setzero_si256(); }
  static Ints load(const uint8_t* p) {
    return _mm256_load_si256(reinterpret_cast<const __m256i*>(p));
  }
  static void prefetch(const uint8_t* p) { _mm_prefetch(p, _MM_HINT_T0); }
  // Of every byte the bits that lie in Mask once it is shifted to the right.
  template <int Shift, int Mask>
  static Ints bits(Ints v) {
    if constexpr (Shift > 0) v = _mm256_srli_epi16(v, Shift);
    return _mm256_and_si256(v, _mm256_set1_epi8(Mask));
  }
  // Low bits and those of `plane` that lie in Mask once it is shifted (to the right by -Shift).
  template <int Shift, int Mask>
  static Ints with_bits(Ints low, Ints plane) {
    Ints bits = plane;
    if constexpr (Shift > 0) bits = _mm256_slli_epi16(plane, Shift);
    if constexpr (Shift < 0) bits = _mm256_srli_epi16(plane, -Shift);
    return _mm256_or_si256(low, _mm256_and_si256(bits, _mm256_set1_epi8(Mask)));
  }
  static Ints flip_sign(Ints v) { return _mm256_xor_si256(v, _mm256_set1_epi8(-128)); }
  static Ints add(Ints a, Ints b) { return _mm256_add_epi32(a, b); }
  // In words of assembly, as GCC 12 copies the sums of its own intrinsic from register to register.
  static void dot(Ints& sum, Ints w, Ints x) {
#ifdef __AVX512VNNI__
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(w), "v"(x));
#else
    __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum) : "x"(w), "x"(x));
#endif
  }
  static Ints broadcast4(const int8_t* x) {
    int32_t four;
    __builtin_memcpy(&four, x, 4);
    return _mm256_set1_epi32(four);
  }
  template <int Shift>
  static Ints minus_scaled(int32_t v) {
    return _mm256_sub_epi32(zero(), _mm256_slli_epi32(_mm256_set1_epi32(v), Shift));
  }
  static Floats zero_floats() { return _mm256_setzero_ps(); }
  static Floats broadcast(float v) { return _mm256_set1_ps(v); }
  static Floats to_floats(Ints v) { return _mm256_cvtepi32_ps(v); }
  static Floats load_f16(const uint16_t* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static Floats multiply(Floats a, Floats b) { return _mm256_mul_ps(a, b); }
  static Floats multiply_add(Floats a, Floats b, Floats c) { return _mm256_fmadd_ps(a, b, c); }
  static void store(float* y, Floats v) { _mm256_storeu_ps(y, v); }
  // The first `count` lanes, if any.
  static void store_some(float* y, Floats v, int64_t count) {
    alignas(32) float all[kLanes];
    _mm256_store_ps(all, v);
    for (int64_t i = 0; i < count && i < kLanes; ++i) y[i] = all[i];
  }
};

}  // namespace
}  // namespace klens::cpu
