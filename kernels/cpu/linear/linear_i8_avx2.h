// The integer half of linear_i8_avx2.cpp, its only user: dot products of a group of columns. See
// kernels/README.md for the one rule of such files.
#pragma once
#include <immintrin.h>

#include <cstdint>

#include "kernels/cpu/linear/linear_i8.h"
#include "kernels/cpu/unrolled.h"

namespace klens::cpu {
namespace {

// Tokens side by side, sharing each unpacked tile: twelve integer sums, two registers of weights,
// one of activations and one of products are all sixteen there are.
#ifdef KLENS_SANITIZED
constexpr int kTokens = 2;  // more takes compilers minutes
#else
constexpr int kTokens = 6;
#endif

constexpr int64_t kTileRows = 4;  // that share the loads and the widening of activations

// Sums of T tokens for one tile row. 32 bits each, or pairs of 16 bits.
template <int T>
struct Dots {
  __m256i v[T][2];
};

// Four bytes of activations, repeated for eight outputs. A copy into an integer becomes one
// VPBROADCASTD from memory; the load intrinsics for 32 bits do not, in GCC 12.
inline __m256i broadcast4(const void* x) {
  int32_t four;
  __builtin_memcpy(&four, x, 4);
  return _mm256_set1_epi32(four);
}

inline __m256i load32(const void* p) { return _mm256_load_si256(static_cast<const __m256i*>(p)); }

inline __m256i loadu32(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }

alignas(32) constexpr int8_t kNibbles[32] = {15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15,
                                             15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15,
                                             15, 15, 15, 15, 15, 15, 15, 15, 15, 15};
alignas(32) constexpr int16_t kOnes[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

// Both constants from memory, as no register is left.
__attribute__((always_inline)) inline void low_nibbles(__m256i& v) {
  __asm__("vpand %1, %0, %0" : "+x"(v) : "m"(*reinterpret_cast<const __m256i*>(kNibbles)));
}
__attribute__((always_inline)) inline void add_pairs(__m256i& v) {
  __asm__("vpmaddwd %1, %0, %0" : "+x"(v) : "m"(*reinterpret_cast<const __m256i*>(kOnes)));
}

// sum += w x for both halves of a tile row, in bytes (u8 by s8, 16-bit sums) or in 16-bit numbers
// (32-bit sums). In words of assembly: GCC 12 orders intrinsics so that sums leave the registers,
// and both multiplications before both additions is the fastest order.
template <bool Bytes>
__attribute__((always_inline)) inline void multiply_add(__m256i (&sum)[2], const __m256i (&w)[2],
                                                        __m256i x) {
  __m256i product;
  if constexpr (Bytes) {
    __asm__(
        "vpmaddubsw %2, %4, %3\n\tvpmaddubsw %2, %5, %2\n\t"
        "vpaddw %3, %0, %0\n\tvpaddw %2, %1, %1"
        : "+x"(sum[0]), "+x"(sum[1]), "+x"(x), "=&x"(product)
        : "x"(w[0]), "x"(w[1]));
  } else {
    __asm__(
        "vpmaddwd %2, %4, %3\n\tvpmaddwd %2, %5, %2\n\t"
        "vpaddd %3, %0, %0\n\tvpaddd %2, %1, %1"
        : "+x"(sum[0]), "+x"(sum[1]), "+x"(x), "=&x"(product)
        : "x"(w[0]), "x"(w[1]));
  }
}

// pairs += 16-bit sums of u x over `Tiles` INT4 tiles, with u = w + 8 in 0..15.
template <int T, int Tiles>
__attribute__((always_inline)) inline void dot_i4(const uint8_t* tile,
                                                  const Rows<T, const int8_t>& x, Dots<T>& pairs) {
  unrolled<2 * Tiles>([&](auto i) __attribute__((always_inline)) {
    constexpr int kI = decltype(i)::kValue;
    __asm__("" : "+r"(tile));  // high nibbles: the tile is read again rather than kept
    __m256i w[2];
    unrolled<2>([&](auto h) __attribute__((always_inline)) {
      w[h] = load32(tile + kI / 2 * kLineBytes + 32 * h);
      if (kI % 2) w[h] = _mm256_srli_epi16(w[h], 4);
      low_nibbles(w[h]);
    });
    unrolled<T>([&](auto t) __attribute__((always_inline)) {
      multiply_add<true>(pairs.v[t], w, broadcast4(x.at(t) + 4 * kI));
    });
  });
}

// A group of any length. Four tiles' sums, at most 8 * 2 * 15 * 127 = 30480, fit 16 bits before
// they are widened. INT4 weights are u - 8: the sums start at -8 sum(x). Of activations that have
// overflowed to infinity that means nothing and may be any integer; shifted as a vector, it wraps.
template <int T>
__attribute__((always_inline)) inline void group_i4(const uint8_t* tile, Rows<T, const int8_t> x,
                                                    const Rows<T, const int32_t>& x_sum,
                                                    int64_t cols, Dots<T>& dots) {
  const auto add = [&](auto tiles) __attribute__((always_inline)) {
    Dots<T> pairs;
    each<T, 2>([&](auto t, auto h)
                   __attribute__((always_inline)) { pairs.v[t][h] = _mm256_setzero_si256(); });
    dot_i4<T, decltype(tiles)::kValue>(tile, x, pairs);
    each<T, 2>([&](auto t, auto h) __attribute__((always_inline)) {
      add_pairs(pairs.v[t][h]);
      dots.v[t][h] = _mm256_add_epi32(dots.v[t][h], pairs.v[t][h]);
    });
    tile += tiles * kLineBytes;
    x.advance(8 * tiles);
  };
  unrolled<T>([&](auto t) __attribute__((always_inline)) {
    const __m256i sum = _mm256_slli_epi32(_mm256_set1_epi32(*x_sum.at(t)), 3);
    dots.v[t][0] = dots.v[t][1] = _mm256_sub_epi32(_mm256_setzero_si256(), sum);
  });
  int64_t tiles = (cols + 7) / 8;
  for (; tiles >= 4; tiles -= 4) add(Index<4>());
  for (; tiles > 0; --tiles) add(Index<1>());
}

// A group of 64 columns in 16-bit sums: of w x over 32 columns they are at most 32 * 8 * 127 =
// 32512, so that sums of u x that start at -8 sum(x) of the same columns end there, whatever
// overflows (modulo 2^16) on the way.
template <int T>
__attribute__((always_inline)) inline void group64_i4(const uint8_t* tile,
                                                      const Rows<T, const int8_t>& x,
                                                      const Rows<T, const int32_t>& starts,
                                                      Dots<T>& dots) {
  unrolled<T>([&](auto t) __attribute__((always_inline)) {
    dots.v[t][0] = dots.v[t][1] = broadcast4(starts.at(t));
  });
  dot_i4<T, 8>(tile, x, dots);
  each<T, 2>([&](auto t, auto h) __attribute__((always_inline)) { add_pairs(dots.v[t][h]); });
}

constexpr int64_t kActivationBytes = 384 << 10;  // of a part of the tokens, to stay in L2
constexpr int64_t kStarts = kActivationBytes / 64;

// What group64_i4 starts at, for every group of 64 columns: -8 times the sum of the columns 0 and 1
// of every four, and of 2 and 3.
inline void sum_pairs(const LinearI8Args& a, int64_t t_begin, int64_t t_end, int32_t* starts) {
  const __m256i eight = _mm256_set1_epi8(8);
  for (int64_t t = t_begin; t < t_end; ++t)
    for (int64_t k = 0; k < a.w.cols; k += 64) {
      const int8_t* x = a.x + t * a.x_stride + k;
      const __m256i all = _mm256_add_epi16(_mm256_maddubs_epi16(eight, loadu32(x)),
                                           _mm256_maddubs_epi16(eight, loadu32(x + 32)));
      __m128i sum = _mm_add_epi16(_mm256_castsi256_si128(all), _mm256_extracti128_si256(all, 1));
      sum = _mm_add_epi16(sum, _mm_shuffle_epi32(sum, 0x4e));
      sum = _mm_add_epi16(sum, _mm_shuffle_epi32(sum, 0xb1));
      *starts++ = _mm_cvtsi128_si32(_mm_sub_epi16(_mm_setzero_si128(), sum));
    }
}

// INT8: bytes as 16-bit numbers, even ones and odd ones.
inline __m256i even_bytes(__m256i v) { return _mm256_srai_epi16(_mm256_slli_epi16(v, 8), 8); }
inline __m256i odd_bytes(__m256i v) { return _mm256_srai_epi16(v, 8); }

// 32 columns of T tokens as 16-bit numbers, even columns and odd ones.
template <int T>
struct Wide {
  alignas(32) int16_t v[T][2][16];
};

template <int T>
__attribute__((always_inline)) inline void widen(const Rows<T, const int8_t>& x, Wide<T>& wide) {
  unrolled<T>([&](auto t) __attribute__((always_inline)) {
    const __m256i v = loadu32(x.at(t));
    _mm256_store_si256(reinterpret_cast<__m256i*>(wide.v[t][0]), even_bytes(v));
    _mm256_store_si256(reinterpret_cast<__m256i*>(wide.v[t][1]), odd_bytes(v));
  });
}

// dots += one INT8 tile by the columns k to k + 3 of x.
template <int T>
__attribute__((always_inline)) inline void dot_i8(const uint8_t* tile, const Wide<T>& x, int64_t k,
                                                  Dots<T>& dots) {
  unrolled<2>([&](auto odd) __attribute__((always_inline)) {
    __asm__("" : "+r"(tile));  // odd bytes: the tile is read again rather than kept
    __m256i w[2];
    unrolled<2>([&](auto h) __attribute__((always_inline)) {
      w[h] = load32(tile + 32 * h);
      w[h] = odd ? odd_bytes(w[h]) : even_bytes(w[h]);
    });
    unrolled<T>([&](auto t) __attribute__((always_inline)) {
      multiply_add<false>(dots.v[t], w, broadcast4(&x.v[t][odd][k / 2]));
    });
  });
}

// `wide` may hold the first 32 columns of x already.
template <int T>
__attribute__((always_inline)) inline void group_i8(const uint8_t* tile, Rows<T, const int8_t> x,
                                                    int64_t cols, bool widened, Wide<T>& wide,
                                                    Dots<T>& dots) {
  each<T, 2>([&](auto t, auto h)
                 __attribute__((always_inline)) { dots.v[t][h] = _mm256_setzero_si256(); });
  for (int64_t left = cols; left > 0; left -= 32, x.advance(32)) {
    if (!widened) widen<T>(x, wide);
    if (left >= 32) {
      unrolled<8>([&](auto i) __attribute__((always_inline)) {
        dot_i8<T>(tile + i * kLineBytes, wide, 4 * i, dots);
      });
      tile += 8 * kLineBytes;
    } else {
      for (int64_t k = 0; k < left; k += 4, tile += kLineBytes) dot_i8<T>(tile, wide, k, dots);
    }
  }
}

// One token takes as many instructions to load and unpack as to multiply, so it has ways of its
// own. INT8: w x = |w| (sign(w) x), an unsigned by signed product as VPMADDUBSW wants. Both factors
// are at most 127, so a pair's sum, at most 32258, does not saturate.
inline void one_dot_i8(const uint8_t* tile, const int8_t* x, int64_t cols, Dots<1>& dots) {
  for (int64_t k = 0; k < cols; k += 4, tile += kLineBytes) {
    const __m256i four = broadcast4(x + k);
    for (int h = 0; h < 2; ++h) {
      const __m256i w = load32(tile + 32 * h);
      __m256i sums = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(four, w));
      add_pairs(sums);
      dots.v[0][h] = _mm256_add_epi32(dots.v[0][h], sums);
    }
  }
}

// Computes v here and now. GCC otherwise regroups the sums of several tiles into a tree.
__attribute__((always_inline)) inline void settle(__m256i& v) { __asm__("" : "+x"(v)); }

// INT4: four tiles' 16-bit sums, at most 8 * 2 * 15 * 127 = 30480, before they are widened.
inline void one_dot_i4(const uint8_t* tile, const int8_t* x, int64_t cols, Dots<1>& dots) {
  const __m256i nibble = _mm256_set1_epi8(15);
  for (int64_t tiles = (cols + 7) / 8, count; tiles > 0; tiles -= count) {
    count = tiles < 4 ? 1 : 4;
    __m256i sums[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
    const auto add = [&](int64_t i) __attribute__((always_inline)) {
      const __m256i first = broadcast4(x + 8 * i), second = broadcast4(x + 8 * i + 4);
      for (int h = 0; h < 2; ++h) {
        const __m256i w = load32(tile + i * kLineBytes + 32 * h);
        const __m256i low = _mm256_and_si256(w, nibble);
        const __m256i high = _mm256_and_si256(_mm256_srli_epi16(w, 4), nibble);
        sums[h] = _mm256_add_epi16(sums[h], _mm256_maddubs_epi16(low, first));
        settle(sums[h]);
        sums[h] = _mm256_add_epi16(sums[h], _mm256_maddubs_epi16(high, second));
        settle(sums[h]);
      }
    };
    if (count == 4) {
      unrolled<4>(add);
    } else {
      add(0);
    }
    for (int h = 0; h < 2; ++h) {
      add_pairs(sums[h]);
      dots.v[0][h] = _mm256_add_epi32(dots.v[0][h], sums[h]);
    }
    tile += count * kLineBytes;
    x += count * 8;
  }
}

}  // namespace
}  // namespace klens::cpu
