// The integer half of linear_i8_avx2.cpp, its only user, for codes that take more than a shift to
// unpack, or that are all positive because their groups have minima. See kernels/README.md for the
// one rule of such files.
//
// Of two vectors, the 16-bit sums of u x are at most 2 * 2 * 63 * 127 = 32004 whatever the layout:
// they are widened after each two. That costs about what longer sums in 16 bits do, which leave no
// register for the 32-bit sums.
#pragma once
#include "kernels/cpu/linear/linear_i8_avx2.h"
#include "kernels/cpu/linear/tile_codes.h"

namespace klens::cpu {
namespace {

// Tokens side by side: eight sums, four registers of weights and four for a token's pairs are all
// sixteen there are.
#ifdef KLENS_SANITIZED
constexpr int kByteTokens = 2;
#else
constexpr int kByteTokens = 4;
#endif

// Vector V of a tile, outputs 8 h to 8 h + 7: a code to a byte.
template <class Codes, int V>
__attribute__((always_inline)) inline __m256i codes_of(const uint8_t* tile, int h) {
  constexpr int kShift = Codes::plane_shift(V);
  __m256i code = load32(tile + V / 2 * kLineBytes + 32 * h);
  if constexpr (V % 2) code = _mm256_srli_epi16(code, 4);
  code = _mm256_and_si256(code, _mm256_set1_epi8(15));
  if constexpr (Codes::kPlaneBits == 0) return code;
  __m256i plane = load32(tile + Codes::plane_line(V) * kLineBytes + 32 * h);
  if constexpr (kShift > 0) plane = _mm256_slli_epi16(plane, kShift);
  if constexpr (kShift < 0) plane = _mm256_srli_epi16(plane, -kShift);
  return _mm256_or_si256(code, _mm256_and_si256(plane, _mm256_set1_epi8(Codes::kPlaneMask)));
}

// The codes of some columns, from the first of a tile on, as lines of one vector each; zeros up to
// a multiple of two vectors.
template <class Codes>
inline void unpack(const uint8_t* tile, int64_t cols, uint8_t (*lines)[kLineBytes]) {
  const int64_t tiles = (cols + Codes::kCols - 1) / Codes::kCols;
  for (int64_t i = 0; i < tiles; ++i, tile += Codes::kBytes, lines += Codes::kVectors) {
    unrolled<Codes::kVectors>([&](auto v) __attribute__((always_inline)) {
      for (int h = 0; h < 2; ++h)
        _mm256_store_si256(reinterpret_cast<__m256i*>(lines[v] + 32 * h),
                           codes_of<Codes, decltype(v)::kValue>(tile, h));
    });
  }
  static_assert(Codes::kVectors % 2 == 0);
}

// sum += w x of two vectors, for both halves of a tile row. In words of assembly for the reason
// that multiply_add has.
__attribute__((always_inline)) inline void multiply_two(__m256i (&sum)[2], const __m256i (&w)[2][2],
                                                        const int8_t* x) {
  __m256i a, b, c, d;
  __asm__(
      "vpbroadcastd %[first], %[a]\n\tvpbroadcastd %[second], %[b]\n\t"
      "vpmaddubsw %[a], %[w00], %[c]\n\tvpmaddubsw %[a], %[w01], %[a]\n\t"
      "vpmaddubsw %[b], %[w10], %[d]\n\tvpmaddubsw %[b], %[w11], %[b]\n\t"
      "vpaddw %[d], %[c], %[c]\n\tvpaddw %[b], %[a], %[a]\n\t"
      "vpmaddwd %[ones], %[c], %[c]\n\tvpmaddwd %[ones], %[a], %[a]\n\t"
      "vpaddd %[c], %[s0], %[s0]\n\tvpaddd %[a], %[s1], %[s1]"
      : [s0] "+x"(sum[0]), [s1] "+x"(sum[1]), [a] "=&x"(a), [b] "=&x"(b), [c] "=&x"(c), [d] "=&x"(d)
      : [w00] "x"(w[0][0]), [w01] "x"(w[0][1]), [w10] "x"(w[1][0]), [w11] "x"(w[1][1]),
        [first] "m"(*reinterpret_cast<const int32_t(*)[1]>(x)),
        [second] "m"(*reinterpret_cast<const int32_t(*)[1]>(x + 4)),
        [ones] "m"(*reinterpret_cast<const __m256i*>(kOnes)));
}

// dots += unpacked codes by as many columns of x, rounded up to two vectors.
template <int T>
__attribute__((always_inline)) inline void dot_bytes(const uint8_t (*lines)[kLineBytes],
                                                     Rows<T, const int8_t> x, int64_t cols,
                                                     Dots<T>& dots) {
  Dots<T> sums = dots;
  for (int64_t k = 0; k < cols; k += 8, lines += 2, x.advance(8)) {
    const __m256i w[2][2] = {{load32(lines[0]), load32(lines[0] + 32)},
                             {load32(lines[1]), load32(lines[1] + 32)}};
    unrolled<T>([&](auto t)
                    __attribute__((always_inline)) { multiply_two(sums.v[t], w, x.at(t)); });
  }
  dots = sums;
}

// One token's: unpacked in registers.
template <class Codes>
inline void one_dot_codes(const uint8_t* tile, const int8_t* x, int64_t cols, Dots<1>& dots) {
  for (int64_t k = 0; k < cols; k += Codes::kCols, tile += Codes::kBytes, x += Codes::kCols) {
    unrolled<Codes::kVectors / 2>([&](auto i) __attribute__((always_inline)) {
      constexpr int kV = 2 * decltype(i)::kValue;
      const __m256i first = broadcast4(x + 4 * kV), second = broadcast4(x + 4 * kV + 4);
      for (int h = 0; h < 2; ++h) {
        __m256i sums =
            _mm256_add_epi16(_mm256_maddubs_epi16(codes_of<Codes, kV>(tile, h), first),
                             _mm256_maddubs_epi16(codes_of<Codes, kV + 1>(tile, h), second));
        add_pairs(sums);
        dots.v[0][h] = _mm256_add_epi32(dots.v[0][h], sums);
        settle(dots.v[0][h]);
      }
    });
  }
}

}  // namespace
}  // namespace klens::cpu
