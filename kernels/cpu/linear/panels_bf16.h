// For linear_f32_avx512bf16.cpp and linear_f32_amx.h: weights of 16 bits and activations as pairs
// of BF16, some columns at a time. Internal to the file that includes it.
#pragma once
#include "kernels/cpu/linear/expand_avx512.h"
#include "kernels/cpu/linear/linear_f32.h"
#include "kernels/cpu/pairs_avx512bf16.h"

namespace klens::cpu {
namespace {

constexpr int64_t kChunk = 512;
constexpr int64_t kPairCols = 2 * kLanes;              // floats that make a vector of pairs
constexpr int64_t kPanel = kChunk / 2 * kTileOutputs;  // [pairs of columns][outputs]
constexpr int64_t kPanels = 24;                        // at a time, in L2: 384 KiB
constexpr int64_t kPackStride = kChunk / 2 + 16;       // apart in the sets of an L1

// Some tokens of a chunk, rows kPackStride apart, with zeros to a whole vector of pairs.
inline void pack(const float* x, int64_t x_stride, int64_t tokens, int64_t cols, Pair* to) {
  for (int64_t t = 0; t < tokens; ++t)
    for (int64_t k = 0; k < cols; k += kPairCols) {
      const float* from = x + t * x_stride + k;
      const int64_t left = cols - k, rest = left > kLanes ? left - kLanes : 0;
      store_row(to + t * kPackStride + k / 2, load(from, first_lanes(left)),
                load(from + kLanes, first_lanes(rest)));
    }
}

// Thirty-two columns of a row.
inline __m512i load_pairs(const Half* row, __mmask32 there) {
  const __m512i halves = _mm512_maskz_loadu_epi16(there, row);
  return row_pairs(_mm512_cvtph_ps(_mm512_castsi512_si256(halves)),
                   _mm512_cvtph_ps(_mm512_extracti64x4_epi64(halves, 1)));
}

inline __m512i load_pairs(const Bfloat* row, __mmask32 there) {
  return _mm512_maskz_loadu_epi16(there, row);
}

// `left` columns of a tile from k0 on, filled up to a whole unit or more. The next tile's are asked
// for.
template <class Element>
inline void expand(const LinearF32Args& a, int64_t tile, int64_t k0, int64_t left, Pair* panel,
                   RowsSource<Element> source) {
  begin(source, a.w, tile, k0, false);
  const int64_t next = (tile + 2) * kTileOutputs <= a.w.rows ? kTileOutputs * a.w.cols : 0;
  for (int64_t k = 0; k < left; k += kPairCols) {
    const __mmask32 there = left - k >= kPairCols ? 0xffffffff : (1u << (left - k)) - 1;
    Vec v[kLanes];
    for (int64_t o = 0; o < kLanes; ++o) {
      const Element* from = source.rows[o] + k0 + k;
      v[o] = _mm512_castsi512_ps(load_pairs(from, there));
      _mm_prefetch(reinterpret_cast<const char*>(from + next), _MM_HINT_T0);
    }
    transpose(v);
    for (int64_t j = 0; j < kLanes; ++j)
      _mm512_store_ps(reinterpret_cast<float*>(panel) + (k / 2 + j) * kTileOutputs, v[j]);
  }
}

// Tiles lie as panels do.
template <class Codes>
inline void expand(const LinearF32Args& a, int64_t tile, int64_t k0, int64_t left, Pair* panel,
                   TilesSource<Codes> source) {
  begin(source, a.w, tile, k0, false);
  for (int64_t k = 0; k < left; k += kUnitCols) {
    Pair* to = panel + k / 2 * kTileOutputs;
    const auto store = [to](int p, int h, __m512 w) __attribute__((always_inline)) {
      _mm256_store_si256(reinterpret_cast<__m256i*>(to + (2 * p + h) * (kTileOutputs / 2)),
                         (__m256i)_mm512_cvtneps_pbh(w));
    };
    if (left - k >= kUnitCols) {
      unit<true>(source, k0 + k, kUnitCols, store);
    } else {
      unit<false>(source, k0 + k, left - k, store);
    }
  }
}

// multiply(Source()) for weights of 16 bits; false for others.
template <class Multiply>
inline bool with_halves(Layout layout, Multiply multiply) {
  switch (layout) {
    case Layout::kRowsF16:
      multiply(RowsSource<Half>());
      return true;
    case Layout::kRowsBf16:
      multiply(RowsSource<Bfloat>());
      return true;
    case Layout::kTilesF16:
      multiply(TilesSource<TileCodes<Layout::kTilesF16>>());
      return true;
    default:
      return false;
  }
}

}  // namespace
}  // namespace klens::cpu
