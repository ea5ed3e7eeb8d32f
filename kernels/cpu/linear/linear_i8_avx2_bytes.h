// The integer half of linear_i8_avx2.cpp, its only user, for codes that take more than a shift to
// unpack, or that are all positive because their groups have minima. See kernels/README.md for the
// one rule of such files.
#pragma once
#include "kernels/cpu/linear/linear_i8_avx2.h"
#include "kernels/cpu/linear/tile_codes.h"

namespace klens::cpu {
namespace {

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
// a multiple of four vectors.
template <class Codes>
inline void unpack(const uint8_t* tile, int64_t cols, uint8_t (*lines)[kLineBytes]) {
  const int64_t tiles = (cols + Codes::kCols - 1) / Codes::kCols;
  int64_t line = 0;
  const auto put = [&](int h, __m256i v) __attribute__((always_inline)) {
    _mm256_store_si256(reinterpret_cast<__m256i*>(lines[line] + 32 * h), v);
  };
  for (int64_t i = 0; i < tiles; ++i, tile += Codes::kBytes) {
    unrolled<Codes::kVectors>([&](auto v) __attribute__((always_inline)) {
      for (int h = 0; h < 2; ++h) put(h, codes_of<Codes, decltype(v)::kValue>(tile, h));
      ++line;
    });
  }
  for (; line % 4 != 0; ++line)
    for (int h = 0; h < 2; ++h) put(h, _mm256_setzero_si256());
}

// dots of every token += unpacked codes by as many columns of x, rounded up to four vectors, whose
// weights stay in registers while the tokens go by. The 16-bit sums of u x are at most 4 * 2 * 31 *
// 127 = 31496 over four vectors of up to 5 bits, and 2 * 2 * 63 * 127 = 32004 over two of 6 bits,
// before they are widened.
template <class Codes>
inline void dot_bytes(const uint8_t (*lines)[kLineBytes], const int8_t* x, int64_t x_stride,
                      int64_t cols, int64_t tokens, __m256i (*dots)[2]) {
  constexpr bool kFour = Codes::kBits <= 5;
  for (int64_t k = 0; k < cols; k += 16, lines += 4) {
    __m256i w[4][2];
    each<4, 2>([&](auto v, auto h)
                   __attribute__((always_inline)) { w[v][h] = load32(lines[v] + 32 * h); });
    const auto token = [&](int64_t t) __attribute__((always_inline)) {
      const int8_t* at = x + t * x_stride + k;
      __m256i sums[2], first[2];
      unrolled<4>([&](auto v) __attribute__((always_inline)) {
        const __m256i four = broadcast4(at + 4 * v);
        unrolled<2>([&](auto h) __attribute__((always_inline)) {
          const __m256i product = _mm256_maddubs_epi16(w[v][h], four);
          if constexpr (v == 2 && !kFour) {
            first[h] = sums[h];
            add_pairs(first[h]);
          }
          const bool begins = v == 0 || (v == 2 && !kFour);
          sums[h] = begins ? product : _mm256_add_epi16(sums[h], product);
          settle(sums[h]);
        });
      });
      unrolled<2>([&](auto h) __attribute__((always_inline)) {
        add_pairs(sums[h]);
        if constexpr (!kFour) sums[h] = _mm256_add_epi32(sums[h], first[h]);
        dots[t][h] = _mm256_add_epi32(dots[t][h], sums[h]);
      });
    };
    int64_t t = 0;
    for (; t + 2 <= tokens; t += 2) {
      token(t);
      token(t + 1);
    }
    if (t < tokens) token(t);
  }
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
