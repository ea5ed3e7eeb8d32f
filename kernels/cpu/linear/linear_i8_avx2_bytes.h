// The integer half of linear_i8_avx2.cpp, its only user, for codes that take more than a shift to
// unpack, or whose groups have minima. See kernels/README.md for the
// one rule of such files.
#pragma once
#include "kernels/cpu/linear/linear_i8_avx2.h"
#include "kernels/cpu/linear/tile_codes.h"

namespace klens::cpu {
namespace {

// Vector V of a tile, outputs 8 h to 8 h + 7: a code to a byte.
template <class Codes, int V>
__attribute__((always_inline)) inline __m256i codes_of(const uint8_t* tile, int h) {
  constexpr int kLow = Codes::low_shift(V), kShift = Codes::plane_shift(V);
  __m256i code = load32(tile + Codes::low_line(V) * kLineBytes + 32 * h);
  if constexpr (kLow > 0) code = _mm256_srli_epi16(code, kLow);
  code = _mm256_and_si256(code, _mm256_set1_epi8(Codes::kLowMask));
  if constexpr (Codes::kPlaneBits == 0) return code;
  __m256i plane = load32(tile + Codes::plane_line(V) * kLineBytes + 32 * h);
  if constexpr (kShift > 0) plane = _mm256_slli_epi16(plane, kShift);
  if constexpr (kShift < 0) plane = _mm256_srli_epi16(plane, -kShift);
  return _mm256_or_si256(code, _mm256_and_si256(plane, _mm256_set1_epi8(Codes::kPlaneMask)));
}

// Of what is unpacked to bytes: so many tokens share that work, as many columns at a time.
constexpr int kPanelTokens = 48;
constexpr int64_t kRun = 256;

// Some tokens from t0, and what they have added up for some tile rows; and of a run of columns: the
// activations, side by side, as rows of x are often a power of two apart, of which the L1 cache
// holds only a few, the weights of one tile row, a code to a byte, and what its groups have.
struct Panel {
  int64_t t0, tokens, x_groups;
  alignas(64) int8_t x[kPanelTokens][kRun];
  alignas(64) uint8_t lines[kRun / 4][kLineBytes];
  alignas(64) float w_scale[kRun / 16][kTileOutputs], w_min[kRun / 16][kTileOutputs];
  float x_scale[kRun / 16][kPanelTokens], x_min[kRun / 16][kPanelTokens];  // x_min: x_scale x_sum
  int32_t offsets[kRun / 16][kPanelTokens];  // 2^offset_bits x_sum, where codes are the integers
  // Pairs of 16-bit numbers: what the sums of u x over a piece of columns start at. See pack().
  int32_t starts[kRun / 16][kPanelTokens];
  // Of the group at hand, where pieces are less than it; of one that goes on in the next run, for
  // each tile row.
  __m256i dots[kTileRows][kPanelTokens][2];
  __m256 sums[kTileRows][kPanelTokens][2];
};

// The codes of columns [0, cols), from the first of a tile on; zeros up to a multiple of 32.
template <class Codes>
inline void unpack(const uint8_t* tile, int64_t cols, uint8_t (*lines)[kLineBytes]) {
  const int64_t tiles = (cols + Codes::kCols - 1) / Codes::kCols;
  int64_t line = 0;
  const auto put = [&](int h, __m256i v) __attribute__((always_inline)) {
    _mm256_store_si256(reinterpret_cast<__m256i*>(lines[line] + 32 * h), v);
  };
  for (int64_t i = 0; i < tiles; ++i, tile += Codes::kBytes) {
    unrolled<Codes::kVectors>([&](auto v) {
      for (int h = 0; h < 2; ++h) put(h, codes_of<Codes, decltype(v)::kValue>(tile, h));
      ++line;
    });
  }
  for (; line % 8 != 0; ++line)
    for (int h = 0; h < 2; ++h) put(h, _mm256_setzero_si256());
}

// Columns [k, end) of the tokens, the zeros that fill them up to a multiple of 32, and the starts
// of their pieces: for the columns 0 and 1 of every four, and for 2 and 3, -offset sum(x), so that
// sums of u x that start there end at those of (u - offset) x. In 16 bits, whatever
// overflows on the way: those are at most 32512 over 32 columns of up to 5 bits (16 products of 16
// * 127) and over 16 of 6.
template <int Piece>
inline void pack(const LinearI8Args& a, int64_t k, int64_t end, int offset, Panel& panel) {
  const int8_t* from = a.x + panel.t0 * a.x_stride + k;
  const __m256i offsets = _mm256_set1_epi8(static_cast<char>(offset));
  for (int64_t t = 0; t < panel.tokens; ++t, from += a.x_stride)
    for (int64_t i = 0; i < end - k; i += 32) {
      const __m256i x = loadu32(from + i);
      _mm256_store_si256(reinterpret_cast<__m256i*>(panel.x[t] + i), x);
      const __m256i pairs = _mm256_maddubs_epi16(offsets, x);
      const auto start = [](__m128i sum) {
        sum = _mm_add_epi16(sum, _mm_shuffle_epi32(sum, 0x4e));
        sum = _mm_add_epi16(sum, _mm_shuffle_epi32(sum, 0xb1));
        return _mm_cvtsi128_si32(_mm_sub_epi16(_mm_setzero_si128(), sum));
      };
      const __m128i first = _mm256_castsi256_si128(pairs);
      const __m128i second = _mm256_extracti128_si256(pairs, 1);
      if constexpr (Piece == 32) {
        panel.starts[i / 32][t] = start(_mm_add_epi16(first, second));
      } else {
        panel.starts[i / 16][t] = start(first);
        panel.starts[i / 16 + 1][t] = start(second);
      }
    }
}

// What the groups that have columns [k, end) have of the tokens.
inline void pack_groups(const LinearI8Args& a, int64_t k, int64_t end, int offset_bits,
                        Panel& panel) {
  const int64_t first = k / a.x_group, groups = (end - 1) / a.x_group + 1 - first;
  for (int64_t t = 0; t < panel.tokens; ++t) {
    const int64_t at = (panel.t0 + t) * panel.x_groups + first;
    for (int64_t g = 0; g < groups; ++g) {
      const float scale = a.x_scale[at + g];
      const int32_t sum = a.x_sum[at + g];
      panel.x_scale[g][t] = scale;
      panel.x_min[g][t] = static_cast<float>(sum) * scale;
      panel.offsets[g][t] = static_cast<int32_t>(static_cast<uint32_t>(sum) << offset_bits);
    }
  }
}

// Sums of (u - offset) x over the piece of columns that begins at column i of the run, for T
// tokens from t0 on.
template <int T, int Piece>
__attribute__((always_inline)) inline void dot_piece(const Panel& panel, int64_t i, int64_t t0,
                                                     Dots<T>& dots) {
  const int8_t* x = panel.x[t0] + i;
  const int32_t* starts = panel.starts[i / Piece] + t0;
  const uint8_t* lines = panel.lines[i / 4];
  unrolled<T>([&](auto t) __attribute__((always_inline)) {
    dots.v[t][0] = dots.v[t][1] = broadcast4(starts + t);
  });
  unrolled<Piece / 4>([&](auto v) __attribute__((always_inline)) {
    const __m256i w[2] = {load32(lines + v * kLineBytes), load32(lines + v * kLineBytes + 32)};
    unrolled<T>([&](auto t) __attribute__((always_inline)) {
      multiply_add<true>(dots.v[t], w, broadcast4(x + t * kRun + 4 * v));
    });
  });
  each<T, 2>([&](auto t, auto h) __attribute__((always_inline)) { add_pairs(dots.v[t][h]); });
}

// One token's: unpacked in registers. Vectors [First, End) of a tile.
template <class Codes, int First, int End>
__attribute__((always_inline)) inline void one_dot_vectors(const uint8_t* tile, const int8_t* x,
                                                           Dots<1>& dots) {
  unrolled<(End - First) / 2>([&](auto i) __attribute__((always_inline)) {
    constexpr int kX = 8 * decltype(i)::kValue, kV = First + kX / 4;
    const __m256i first = broadcast4(x + kX), second = broadcast4(x + kX + 4);
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

// A group that begins at column k of W: whole tiles, or, where groups are of 16 columns, half a
// one.
template <class Codes>
inline void one_dot_codes(const uint8_t* tile, const int8_t* x, int64_t k, int64_t cols,
                          bool sixteen, Dots<1>& dots) {
  constexpr int kVectors = Codes::kVectors;
  if (!sixteen) {
    for (; cols > 0; cols -= Codes::kCols, tile += Codes::kBytes, x += Codes::kCols)
      one_dot_vectors<Codes, 0, kVectors>(tile, x, dots);
  } else if (k % 32 == 0) {
    one_dot_vectors<Codes, 0, kVectors / 2>(tile, x, dots);
  } else {
    one_dot_vectors<Codes, kVectors / 2, kVectors>(tile, x, dots);
  }
}

}  // namespace
}  // namespace klens::cpu
