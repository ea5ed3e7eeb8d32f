// linear_f32 of weights of 16 bits in AMX tiles. The file that includes it defines before: `struct
// Tiles`, the instructions (amx_tiles.h) or a software model of them (tests/kernels/tile_model.h).
// Everything is internal to that file.
//
// 2 x 2 C tiles: 32 tokens x 2 panels. An A tile is 16 tokens x 16 pairs of columns, and a B tile
// 16 pairs x 16 outputs of a panel, each as it lies in memory. A C tile's sums stay in y between
// chunks, so that neither chunks nor the number of tokens show in the bits.
#pragma once
#include "kernels/cpu/linear/panels_bf16.h"
#include "kernels/cpu/linear/tile_config.h"

namespace klens::cpu {
namespace {

constexpr int64_t kBlock = 16;               // tokens: the rows of an A and a C tile
constexpr int64_t kPassTokens = 2 * kBlock;  // that share what was loaded of a panel
constexpr int64_t kStep = 16;                // pairs of columns of an A tile
constexpr int64_t kRowBytes = 64;            // of all tiles

inline void configure() {
  TileConfig config;
  for (int i = 0; i < 8; ++i) {
    config.row_bytes[i] = kRowBytes;
    config.rows[i] = kBlock;
  }
  Tiles::configure(&config);
}

// Tiles by number: C of block t and panel v is 2 t + v; A is 4 + t; B is 6 + v.
template <int T, int V>
inline void start(const float* y, int64_t stride, bool first) {
  if (first) {
    Tiles::zero<2 * T + V>();
  } else {
    Tiles::load<2 * T + V>(y + T * kBlock * stride + V * kTileOutputs,
                           stride * static_cast<int64_t>(sizeof(float)));
  }
}

template <int T, int V>
inline void finish(float* y, int64_t stride) {
  Tiles::store<2 * T + V>(y + T * kBlock * stride + V * kTileOutputs,
                          stride * static_cast<int64_t>(sizeof(float)));
}

// Blocks of packed tokens against panels; pairs is a multiple of kStep. y has room for all of both.
template <int Blocks, int V>
inline void multiply_tiles(const Pair* panel, const Pair* x, int64_t pairs, float* y,
                           int64_t stride, bool first) {
  constexpr int64_t kPackBytes = kPackStride * static_cast<int64_t>(sizeof(Pair));
  start<0, 0>(y, stride, first);
  if constexpr (V > 1) start<0, 1>(y, stride, first);
  if constexpr (Blocks > 1) start<1, 0>(y, stride, first);
  if constexpr (Blocks > 1 && V > 1) start<1, 1>(y, stride, first);
  for (int64_t k = 0; k < pairs; k += kStep) {
    Tiles::load<6>(panel + k * kTileOutputs, kRowBytes);
    Tiles::load<4>(x + k, kPackBytes);
    Tiles::dot_pairs<0, 4, 6>();
    if constexpr (V > 1) {
      Tiles::load<7>(panel + kPanel + k * kTileOutputs, kRowBytes);
      Tiles::dot_pairs<1, 4, 7>();
    }
    if constexpr (Blocks > 1) {
      Tiles::load<5>(x + kBlock * kPackStride + k, kPackBytes);
      Tiles::dot_pairs<2, 5, 6>();
      if constexpr (V > 1) Tiles::dot_pairs<3, 5, 7>();
    }
  }
  finish<0, 0>(y, stride);
  if constexpr (V > 1) finish<0, 1>(y, stride);
  if constexpr (Blocks > 1) finish<1, 0>(y, stride);
  if constexpr (Blocks > 1 && V > 1) finish<1, 1>(y, stride);
}

inline void multiply_tiles(int64_t blocks, int64_t panels, const Pair* panel, const Pair* x,
                           int64_t pairs, float* y, int64_t stride, bool first) {
  if (blocks > 1) {
    if (panels > 1) return multiply_tiles<2, 2>(panel, x, pairs, y, stride, first);
    return multiply_tiles<2, 1>(panel, x, pairs, y, stride, first);
  }
  if (panels > 1) return multiply_tiles<1, 2>(panel, x, pairs, y, stride, first);
  multiply_tiles<1, 1>(panel, x, pairs, y, stride, first);
}

inline void copy(const float* from, int64_t from_stride, float* to, int64_t to_stride, int64_t rows,
                 int64_t cols) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < cols; c += kLanes) {
      const __mmask16 there = first_lanes(cols - c);
      store(to + r * to_stride + c, there, load(from + r * from_stride + c, there));
    }
}

// Up to kPassTokens packed tokens against up to two panels: into y, or, where tiles would leave the
// outputs or the tokens that there are, by way of `whole`.
inline void multiply_pass(const Pair* panel, int64_t panels, const Pair* x, int64_t tokens,
                          int64_t pairs, float* y, int64_t y_stride, int64_t outputs, bool first) {
  const int64_t blocks = (tokens + kBlock - 1) / kBlock;
  if (tokens == blocks * kBlock && outputs == panels * kTileOutputs)
    return multiply_tiles(blocks, panels, panel, x, pairs, y, y_stride, first);
  constexpr int64_t kStride = 2 * kTileOutputs;
  alignas(64) float whole[kPassTokens * kStride] = {};
  if (!first) copy(y, y_stride, whole, kStride, tokens, outputs);
  multiply_tiles(blocks, panels, panel, x, pairs, whole, kStride, first);
  copy(whole, kStride, y, y_stride, tokens, outputs);
}

// Panels are filled with zeros up to whole steps.
template <class Source>
inline void expand_steps(const LinearF32Args& a, int64_t tile, int64_t k0, int64_t left,
                         Pair* panel) {
  expand(a, tile, k0, left, panel, Source());
  const int64_t filled = (left + kUnitCols - 1) / kUnitCols * kUnitCols / 2;
  if (filled % kStep == 0) return;
  for (int64_t i = 0; i < kStep / 2; ++i)
    _mm512_store_si512(panel + (filled + i) * kTileOutputs, _mm512_setzero_si512());
}

// Weights become BF16 once for all tokens, activations once for kPanels tiles.
template <class Source>
inline void multiply_rounded_amx(const LinearF32Args& a) {
  static_assert(kUnitCols == kStep);  // so that half a step is all that can lack
  alignas(64) Pair panels[kPanels * kPanel], x[kPassTokens * kPackStride];
  configure();
  for (int64_t k0 = 0; k0 < a.w.cols; k0 += kChunk) {
    const int64_t left = a.w.cols - k0 < kChunk ? a.w.cols - k0 : kChunk;
    const int64_t pairs = (left + kPairCols - 1) / kPairCols * kStep;
    for (int64_t tile = a.tile_begin; tile < a.tile_end; tile += kPanels) {
      const int64_t end = a.tile_end - tile < kPanels ? a.tile_end : tile + kPanels;
      for (int64_t i = tile; i < end; ++i)
        expand_steps<Source>(a, i, k0, left, panels + (i - tile) * kPanel);
      for (int64_t t = 0; t < a.tokens; t += kPassTokens) {
        const int64_t tokens = a.tokens - t < kPassTokens ? a.tokens - t : kPassTokens;
        pack(a.x + t * a.x_stride + k0, a.x_stride, tokens, left, x);
        for (int64_t i = tile; i < end; i += 2) {
          const int64_t count = end - i < 2 ? 1 : 2, rest = a.w.rows - i * kTileOutputs;
          const int64_t outputs = rest < count * kTileOutputs ? rest : count * kTileOutputs;
          multiply_pass(panels + (i - tile) * kPanel, count, x, tokens, pairs,
                        a.y + t * a.y_stride + i * kTileOutputs, a.y_stride, outputs, k0 == 0);
        }
      }
    }
  }
  Tiles::release();
}

// others: what is not rounded, or not of 16 bits.
inline void multiply_halves_amx(const LinearF32Args& a, LinearF32* others) {
  const auto multiply = [&](auto source) { multiply_rounded_amx<decltype(source)>(a); };
  if (!a.rounded || !with_halves(a.w.layout, multiply)) others(a);
}

}  // namespace
}  // namespace klens::cpu
