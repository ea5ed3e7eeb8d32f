// linear_i8 in AMX tiles. The file that includes it defines `struct Tiles` before: the instructions
// (linear_i8_amx.cpp), or a software model of them, so that machines without AMX test this source
// (tests/kernels/linear_i8_amx_emulated.cpp). Everything is internal to that file.
//
// 2 x 2 C tiles: 32 tokens x 2 rows of weight tiles. An A tile is 16 tokens x 64 columns of the
// activations and a B tile 64 columns x 16 outputs, 16 of our 64-byte tiles, each as it lies in
// memory. The integer dot product of a group leaves the C tiles for the stack, where AVX-512 scales
// it with the same FP32 operations in the same order as block() in linear_i8_vnni.h, whose 512-bit row
// does the calls of few tokens: the bits do not tell which of the two an output took.
#pragma once
#include "kernels/cpu/linear/linear_i8.h"
#include "kernels/cpu/linear/linear_i8_vnni512.h"

namespace klens::cpu {

LinearI8 linear_i8_avx512vnni;

namespace {

using Floats = Simd::Floats;  // float x Simd::kLanes

constexpr int kBlock = 16;     // tokens: the rows of an A and a C tile
constexpr int kBlocks = 4;     // that share what was unpacked or copied of the weights
constexpr int64_t kRun = 256;  // columns unpacked at a time: 8 KiB of the L1 cache

// The operand of LDTILECFG.
struct TileConfig {
  uint8_t palette, start_row, reserved[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
};
static_assert(sizeof(TileConfig) == 64);

// Tiles by number: C of block t and tile row r is 2 t + r; A is 4 + t; B is 6 + r.
inline void configure(int64_t step) {
  alignas(64) TileConfig config = {};
  config.palette = 1;
  for (int i = 0; i < 8; ++i) {
    const bool is_a = i == 4 || i == 5, is_b = i >= 6;
    config.row_bytes[i] = static_cast<uint16_t>(is_a ? step : 64);
    config.rows[i] = static_cast<uint8_t>(is_b ? step / 4 : 16);
  }
  Tiles::configure(&config);
}

struct Work {
  alignas(64) int32_t dots[kBlocks][2][kBlock][kTileOutputs];  // C tiles
  alignas(64) float sums[kBlocks][2][kBlock][kTileOutputs];
  alignas(64) uint8_t w[2][kRun / 4][kTileBytes];  // rows of B tiles
  alignas(64) int8_t x[2][kBlock][64];             // A tiles that would end beyond their rows
};

// What is the same for a whole call.
struct Call {
  const LinearI8Args& a;
  Work& work;
  int64_t step;  // columns of an A tile
  int64_t x_groups, w_groups;

  // Blocks are 16 tokens. The last one is moved back to be whole: some tokens are computed twice.
  int64_t first_token(int64_t block) const {
    const int64_t last = a.tokens - kBlock;
    return block * kBlock < last ? block * kBlock : last;
  }
};

// Columns [begin, end) of one group and the B tiles that hold them, zero up to whole steps.
struct Run {
  int64_t begin, end;
  bool first, last;  // of the group
  const uint8_t* w[2];
};

// Rows of B tiles for columns [begin, end) of tile row n, as many as whole steps have.
template <bool Int4>
inline const uint8_t* b_rows(const Call& c, int64_t n, int64_t begin, int64_t end,
                             uint8_t (*buffer)[kTileBytes]) {
  constexpr int64_t kCols = Int4 ? 8 : 4;  // of a tile
  const int64_t col_tiles = (c.a.w.cols + kCols - 1) / kCols;
  const auto* from =
      static_cast<const uint8_t*>(c.a.w.data) + (n * col_tiles + begin / kCols) * kTileBytes;
  const int64_t tiles = (end - begin + kCols - 1) / kCols;
  const int64_t rows = (end - begin + c.step - 1) / c.step * c.step / 4;
  if (!Int4 && tiles == rows) return from;
  const __m512i eight = _mm512_set1_epi8(8);
  int64_t row = 0;
  for (int64_t i = 0; i < tiles; ++i) {
    const __m512i tile = Simd::load(from + i * kTileBytes);
    if constexpr (Int4) {
      _mm512_store_si512(buffer[row++], _mm512_sub_epi8(Simd::low_nibbles(tile), eight));
      _mm512_store_si512(buffer[row++], _mm512_sub_epi8(Simd::high_nibbles(tile), eight));
    } else {
      _mm512_store_si512(buffer[row++], tile);
    }
  }
  for (; row < rows; ++row) _mm512_store_si512(buffer[row], Simd::zero());
  return buffer[0];
}

// One step of T blocks and R tile rows.
template <int T, int R>
inline void multiply_step(const int8_t* const (&x)[2], int64_t x_stride,
                          const uint8_t* const (&w)[2], int64_t w_offset) {
  Tiles::load<6>(w[0] + w_offset, kTileBytes);
  if constexpr (R == 2) Tiles::load<7>(w[1] + w_offset, kTileBytes);
  Tiles::load<4>(x[0], x_stride);
  Tiles::dot<0, 4, 6>();
  if constexpr (R == 2) Tiles::dot<1, 4, 7>();
  if constexpr (T == 2) {
    Tiles::load<5>(x[1], x_stride);
    Tiles::dot<2, 5, 6>();
    if constexpr (R == 2) Tiles::dot<3, 5, 7>();
  }
}

template <int I>
inline void begin_dots(int32_t* dots, bool first) {
  if (first) {
    Tiles::zero<I>();
  } else {
    Tiles::load<I>(dots, 64);
  }
}

// work.dots of blocks `slot` to slot + T - 1, which begin at tokens `tokens`, over a run.
template <int T, int R>
inline void multiply_run(const Call& c, const Run& run, int slot, const int64_t (&tokens)[2]) {
  const int64_t steps = (run.end - run.begin + c.step - 1) / c.step;
  // Rows of x are readable up to a multiple of 32, half a step where a step is 64 columns.
  const int64_t readable = (run.end - run.begin + 31) / 32 * 32;
  const int64_t whole = readable / c.step;
  int32_t(*dots)[2][kBlock][kTileOutputs] = c.work.dots + slot;
  begin_dots<0>(dots[0][0][0], run.first);
  if constexpr (R == 2) begin_dots<1>(dots[0][1][0], run.first);
  if constexpr (T == 2) begin_dots<2>(dots[1][0][0], run.first);
  if constexpr (T == 2 && R == 2) begin_dots<3>(dots[1][1][0], run.first);

  const int8_t* x[2];
  for (int t = 0; t < T; ++t) x[t] = c.a.x + tokens[t] * c.a.x_stride + run.begin;
  for (int64_t i = 0; i < whole; ++i) {
    multiply_step<T, R>(x, c.a.x_stride, run.w, i * c.step / 4 * kTileBytes);
    for (int t = 0; t < T; ++t) x[t] += c.step;
  }
  if (whole < steps) {
    for (int t = 0; t < T; ++t) {
      for (int i = 0; i < kBlock; ++i) {
        const auto* half = reinterpret_cast<const __m256i*>(x[t] + i * c.a.x_stride);
        _mm512_store_si512(c.work.x[t][i], _mm512_zextsi256_si512(_mm256_loadu_si256(half)));
      }
      x[t] = c.work.x[t][0];
    }
    multiply_step<T, R>(x, 64, run.w, whole * c.step / 4 * kTileBytes);
  }

  Tiles::store<0>(dots[0][0][0], 64);
  if constexpr (R == 2) Tiles::store<1>(dots[0][1][0], 64);
  if constexpr (T == 2) Tiles::store<2>(dots[1][0][0], 64);
  if constexpr (T == 2 && R == 2) Tiles::store<3>(dots[1][1][0], 64);
}

inline Floats w_scale_at(const Call& c, int64_t n, int64_t g) {
  return Simd::load_f16(c.a.w.scale + (n * c.w_groups + g) * kTileOutputs);
}

// Adds work.dots of group g to work.sums for one block, as block() of linear_i8_vnni.h does. What
// the loop needs is in variables of its own: the compiler must take its stores to change anything
// that it reads through a reference.
template <int R>
inline void add_dots(const Call& c, int64_t n, int64_t g, int slot, int64_t token) {
  const bool one_scale = c.w_groups == 1;
  const int64_t x_groups = c.x_groups;
  const float* x_scale = c.a.x_scale + token * x_groups + g;
  int32_t(*dots)[kBlock][kTileOutputs] = c.work.dots[slot];
  float(*sums)[kBlock][kTileOutputs] = c.work.sums[slot];
  Floats w_scale[R];
  for (int r = 0; r < R; ++r) w_scale[r] = w_scale_at(c, n + r, one_scale ? 0 : g);
  for (int t = 0; t < kBlock; ++t, x_scale += x_groups) {
    const Floats scale = Simd::broadcast(*x_scale);
    for (int r = 0; r < R; ++r) {
      const Floats sum = _mm512_load_ps(sums[r][t]);
      const Floats dot = Simd::to_floats(_mm512_load_si512(dots[r][t]));
      _mm512_store_ps(sums[r][t],
                      one_scale ? Simd::multiply_add(dot, scale, sum)
                                : Simd::multiply_add(Simd::multiply(dot, scale), w_scale[r], sum));
    }
  }
}

template <int R>
inline void store_block(const Call& c, int64_t n, int slot, int64_t token) {
  for (int r = 0; r < R; ++r) {
    const int64_t first = (n + r) * kTileOutputs;
    const Floats w_scale = w_scale_at(c, n + r, 0);
    for (int t = 0; t < kBlock; ++t) {
      const Floats sum = _mm512_load_ps(c.work.sums[slot][r][t]);
      const Floats y = c.w_groups == 1 ? Simd::multiply(sum, w_scale) : sum;
      Simd::store_some(c.a.y + (token + t) * c.a.y_stride + first, y, c.a.w.rows - first);
    }
  }
}

// One run for `blocks` (at most kBlocks) blocks from `block`: pairs, so that scaling one pair may
// overlap multiplying the next.
template <int R>
inline void multiply_blocks(const Call& c, const Run& run, int64_t n, int64_t g, int64_t block,
                            int64_t blocks) {
  for (int slot = 0; slot < blocks; slot += 2) {
    const bool two = slot + 1 < blocks;
    const int64_t tokens[2] = {c.first_token(block + slot), c.first_token(block + slot + 1)};
    if (two) {
      multiply_run<2, R>(c, run, slot, tokens);
    } else {
      multiply_run<1, R>(c, run, slot, tokens);
    }
    if (!run.last) continue;
    add_dots<R>(c, n, g, slot, tokens[0]);
    if (two) add_dots<R>(c, n, g, slot + 1, tokens[1]);
  }
}

// R tile rows from n for a few blocks.
template <int R, bool Int4>
inline void panel(const Call& c, int64_t n, int64_t block, int64_t blocks) {
  for (int slot = 0; slot < blocks; ++slot)
    for (int r = 0; r < R; ++r)
      for (int t = 0; t < kBlock; ++t)
        _mm512_store_ps(c.work.sums[slot][r][t], Simd::zero_floats());
  for (int64_t g = 0; g < c.x_groups; ++g) {
    const int64_t begin = g * c.a.x_group, left = c.a.w.cols - begin;
    const int64_t end = begin + (left < c.a.x_group ? left : c.a.x_group);
    for (int64_t k = begin; k < end; k += kRun) {
      const bool last = end - k <= kRun;
      Run run = {k, last ? end : k + kRun, k == begin, last, {}};
      for (int r = 0; r < R; ++r)
        run.w[r] = b_rows<Int4>(c, n + r, run.begin, run.end, c.work.w[r]);
      multiply_blocks<R>(c, run, n, g, block, blocks);
    }
  }
  for (int slot = 0; slot < blocks; ++slot) store_block<R>(c, n, slot, c.first_token(block + slot));
}

// Blocks in panels as even as can be; so many panels at a time that their activations stay in the
// L2 cache while the weights go by.
template <bool Int4>
inline void multiply_tiles(const Call& c) {
  constexpr int64_t kActivationBytes = 384 << 10;
  const int64_t blocks = (c.a.tokens + kBlock - 1) / kBlock;
  const int64_t panels = (blocks + kBlocks - 1) / kBlocks;
  const int64_t fit = kActivationBytes / c.a.x_stride / (kBlock * kBlocks),
                some = fit < 1 ? 1 : fit;
  for (int64_t p = 0; p < panels; p += some) {
    const int64_t p_end = panels - p < some ? panels : p + some;
    for (int64_t n = c.a.tile_begin; n < c.a.tile_end; n += 2) {
      for (int64_t i = p; i < p_end; ++i) {
        const int64_t from = blocks * i / panels, count = blocks * (i + 1) / panels - from;
        if (n + 1 < c.a.tile_end) {
          panel<2, Int4>(c, n, from, count);
        } else {
          panel<1, Int4>(c, n, from, count);
        }
      }
    }
  }
}

inline void multiply_all_amx(const LinearI8Args& a) {
  if (a.tokens < kBlock) return linear_i8_avx512vnni(a);
  Work work;
  const int64_t x_groups = (a.w.cols + a.x_group - 1) / a.x_group;
  const int64_t w_groups = (a.w.cols + a.w.group - 1) / a.w.group;
  // Every group but the last of a row is whole steps. Half tiles cost as long as whole ones, which
  // groups of 32 columns cannot fill.
  const int64_t step = x_groups == 1 || a.x_group % 64 == 0 ? 64 : 32;
  const Call call = {a, work, step, x_groups, w_groups};
  configure(step);
  if (a.w.layout == Layout::kTilesI4) {
    multiply_tiles<true>(call);
  } else {
    multiply_tiles<false>(call);
  }
  Tiles::release();
}

}  // namespace
}  // namespace klens::cpu
