// linear_i8 in AMX tiles. The file that includes it defines before: `struct Tiles`, the
// instructions (linear_i8_amx.cpp) or a software model of them (tests/kernels/tile_model.h), and
// `struct Simd` of 16 lanes (linear_i8_vnni512.h), or a model of that, so that any machine tests
// this source. Everything is internal to that file.
//
// 2 x 2 C tiles: 32 tokens x 2 rows of weight tiles. An A tile is 16 tokens x 64 columns of the
// activations and a B tile 64 columns x 16 outputs, 16 of our 64-byte tiles, each as it lies in
// memory. The integer dot product of a group leaves the C tiles for the stack, where AVX-512 scales
// it with the same FP32 operations in the same order as block() in linear_i8_vnni.h, whose 512-bit
// row does the calls of few tokens: the bits do not tell which of the two an output took.
#pragma once
#include "kernels/cpu/linear/codes_simd.h"
#include "kernels/cpu/linear/linear_i8.h"
#include "kernels/cpu/linear/tile_config.h"
#include "kernels/cpu/unrolled.h"

namespace klens::cpu {
namespace {

using Floats = Simd::Floats;  // float x Simd::kLanes

constexpr int kBlock = 16;     // tokens: the rows of an A and a C tile
constexpr int kBlocks = 4;     // that share what was unpacked or copied of the weights
constexpr int64_t kRun = 256;  // columns unpacked at a time: 8 KiB of the L1 cache

// Tiles by number: C of block t and tile row r is 2 t + r; A is 4 + t; B is 6 + r.
inline void configure(int64_t step) {
  TileConfig config;
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
  alignas(64) uint8_t w[2][kRun / 4][kLineBytes];  // rows of B tiles
  alignas(64) int8_t x[2][kBlock][64];             // A tiles that would end beyond their rows
};

// What is the same for a whole call.
struct Call {
  const LinearI8Args& a;
  Work& work;
  int64_t step;  // columns of an A tile
  int64_t x_groups, w_groups;
  bool one_scale;  // per output, and no minimum to add to what it scales

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

// The vectors [First, End) of each of `tiles` tiles as rows of a B tile, of signed bytes: codes
// less the offset, or, if there are minima, codes, which fit them as well. Returns the row after.
template <class Codes, int First, int End>
inline int64_t unpack(const uint8_t* tile, int64_t tiles, bool minima,
                      uint8_t (*buffer)[kLineBytes]) {
  int64_t row = 0;
  const Simd::Ints offset = Simd::broadcast_byte(minima ? 0 : 1 << Codes::kOffsetBits);
  for (; tiles > 0; --tiles, tile += Codes::kBytes) {
    unrolled<End - First>([&](auto v) {
      const Simd::Ints code = codes_of<Codes, First + decltype(v)::kValue>(
          [&](int line) { return Simd::load(tile + line * kLineBytes); });
      Simd::store_bytes(buffer[row++], Simd::subtract_bytes(code, offset));
    });
  }
  return row;
}

// The same for columns [begin, end) of a group, which whole tiles hold, or, where groups are of 16
// columns, half a tile that has more.
template <class Codes>
inline int64_t unpack(const Call& c, const uint8_t* from, int64_t begin, int64_t end,
                      uint8_t (*buffer)[kLineBytes]) {
  constexpr int kVectors = Codes::kVectors;
  const bool minima = Codes::kMinima && c.a.w.min != nullptr;
  if constexpr (Codes::kCols == 32) {
    if (c.a.x_group == 16)
      return begin % 32 == 0 ? unpack<Codes, 0, kVectors / 2>(from, 1, minima, buffer)
                             : unpack<Codes, kVectors / 2, kVectors>(from, 1, minima, buffer);
  }
  const int64_t tiles = (end - begin + Codes::kCols - 1) / Codes::kCols;
  return unpack<Codes, 0, kVectors>(from, tiles, minima, buffer);
}

// Rows of B tiles for columns [begin, end) of tile row n, as many as whole steps have.
inline const uint8_t* b_rows(const Call& c, int64_t n, int64_t begin, int64_t end,
                             uint8_t (*buffer)[kLineBytes]) {
  const uint8_t* rows_of = nullptr;
  with_codes(c.a.w, [&](auto codes) {
    using Codes = decltype(codes);
    constexpr int64_t kCols = Codes::kCols;
    const int64_t col_tiles = (c.a.w.cols + kCols - 1) / kCols;
    const auto* from =
        static_cast<const uint8_t*>(c.a.w.data) + (n * col_tiles + begin / kCols) * Codes::kBytes;
    const int64_t tiles = (end - begin + kCols - 1) / kCols;
    const int64_t rows = (end - begin + c.step - 1) / c.step * c.step / 4;
    rows_of = buffer[0];
    int64_t row = 0;
    if constexpr (!Codes::kInt8) {
      row = unpack<Codes>(c, from, begin, end, buffer);
    } else if (tiles == rows) {
      rows_of = from;
      return;
    } else {
      for (; row < tiles; ++row)
        Simd::store_bytes(buffer[row], Simd::load(from + row * kLineBytes));
    }
    for (; row < rows; ++row) Simd::store_bytes(buffer[row], Simd::zero());
  });
  return rows_of;
}

// One step of T blocks and R tile rows.
template <int T, int R>
inline void multiply_step(const int8_t* const (&x)[2], int64_t x_stride,
                          const uint8_t* const (&w)[2], int64_t w_offset) {
  Tiles::load<6>(w[0] + w_offset, kLineBytes);
  if constexpr (R == 2) Tiles::load<7>(w[1] + w_offset, kLineBytes);
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
  const int64_t whole = readable < steps * c.step ? readable / c.step : steps;
  int32_t(*dots)[2][kBlock][kTileOutputs] = c.work.dots + slot;
  begin_dots<0>(dots[0][0][0], run.first);
  if constexpr (R == 2) begin_dots<1>(dots[0][1][0], run.first);
  if constexpr (T == 2) begin_dots<2>(dots[1][0][0], run.first);
  if constexpr (T == 2 && R == 2) begin_dots<3>(dots[1][1][0], run.first);

  const int8_t* x[2];
  for (int t = 0; t < T; ++t) x[t] = c.a.x + tokens[t] * c.a.x_stride + run.begin;
  for (int64_t i = 0; i < whole; ++i) {
    multiply_step<T, R>(x, c.a.x_stride, run.w, i * c.step / 4 * kLineBytes);
    for (int t = 0; t < T; ++t) x[t] += c.step;
  }
  if (whole < steps) {
    for (int t = 0; t < T; ++t) {
      for (int i = 0; i < kBlock; ++i) {
        __builtin_memcpy(c.work.x[t][i], x[t] + i * c.a.x_stride, 32);
        __builtin_memset(c.work.x[t][i] + 32, 0, 32);
      }
      x[t] = c.work.x[t][0];
    }
    multiply_step<T, R>(x, 64, run.w, whole * c.step / 4 * kLineBytes);
  }

  Tiles::store<0>(dots[0][0][0], 64);
  if constexpr (R == 2) Tiles::store<1>(dots[0][1][0], 64);
  if constexpr (T == 2) Tiles::store<2>(dots[1][0][0], 64);
  if constexpr (T == 2 && R == 2) Tiles::store<3>(dots[1][1][0], 64);
}

// Of the scales or the minima of W.
inline Floats of_group(const Call& c, const uint16_t* halves, int64_t n, int64_t g) {
  return Simd::load_f16(halves + (n * c.w_groups + (c.w_groups == 1 ? 0 : g)) * kTileOutputs);
}

// Adds work.dots of group g to work.sums for one block, as block() of linear_i8_vnni.h does. What
// the loop needs is in variables of its own: the compiler must take its stores to change anything
// that it reads through a reference.
template <int R>
inline void add_dots(const Call& c, int64_t n, int64_t g, int slot, int64_t token) {
  const bool one_scale = c.one_scale;
  const int64_t x_groups = c.x_groups;
  const float* x_scale = c.a.x_scale + token * x_groups + g;
  int32_t(*dots)[kBlock][kTileOutputs] = c.work.dots[slot];
  float(*sums)[kBlock][kTileOutputs] = c.work.sums[slot];
  Floats w_scale[R];
  for (int r = 0; r < R; ++r) w_scale[r] = of_group(c, c.a.w.scale, n + r, g);
  for (int t = 0; t < kBlock; ++t, x_scale += x_groups) {
    const Floats scale = Simd::broadcast(*x_scale);
    for (int r = 0; r < R; ++r) {
      const Floats sum = Simd::load_floats(sums[r][t]);
      const Floats dot = Simd::to_floats(Simd::load_ints(dots[r][t]));
      Simd::store(sums[r][t],
                  one_scale ? Simd::multiply_add(dot, scale, sum)
                            : Simd::multiply_add(Simd::multiply(dot, scale), w_scale[r], sum));
    }
  }
}

// The same for the minima of group g, after its dots.
template <int R>
inline void add_minima(const Call& c, int64_t n, int64_t g, int slot, int64_t token) {
  const int64_t x_groups = c.x_groups;
  const float* x_scale = c.a.x_scale + token * x_groups + g;
  const int32_t* x_sum = c.a.x_sum + token * x_groups + g;
  float(*sums)[kBlock][kTileOutputs] = c.work.sums[slot];
  Floats w_min[R];
  for (int r = 0; r < R; ++r) w_min[r] = of_group(c, c.a.w.min, n + r, g);
  for (int t = 0; t < kBlock; ++t, x_scale += x_groups, x_sum += x_groups) {
    const Floats scaled = Simd::broadcast(static_cast<float>(*x_sum) * *x_scale);
    for (int r = 0; r < R; ++r)
      Simd::store(sums[r][t], Simd::multiply_add(scaled, w_min[r], Simd::load_floats(sums[r][t])));
  }
}

template <int R>
inline void store_block(const Call& c, int64_t n, int slot, int64_t token) {
  for (int r = 0; r < R; ++r) {
    const int64_t first = (n + r) * kTileOutputs;
    const Floats w_scale = of_group(c, c.a.w.scale, n + r, 0);
    for (int t = 0; t < kBlock; ++t) {
      const Floats sum = Simd::load_floats(c.work.sums[slot][r][t]);
      const Floats y = c.one_scale ? Simd::multiply(sum, w_scale) : sum;
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
    for (int t = 0; t < (two ? 2 : 1); ++t) {
      add_dots<R>(c, n, g, slot + t, tokens[t]);
      if (c.a.w.min != nullptr) add_minima<R>(c, n, g, slot + t, tokens[t]);
    }
  }
}

// R tile rows from n for a few blocks.
template <int R>
inline void panel(const Call& c, int64_t n, int64_t block, int64_t blocks) {
  for (int slot = 0; slot < blocks; ++slot)
    for (int r = 0; r < R; ++r)
      for (int t = 0; t < kBlock; ++t) Simd::store(c.work.sums[slot][r][t], Simd::zero_floats());
  for (int64_t g = 0; g < c.x_groups; ++g) {
    const int64_t begin = g * c.a.x_group, left = c.a.w.cols - begin;
    const int64_t end = begin + (left < c.a.x_group ? left : c.a.x_group);
    for (int64_t k = begin; k < end; k += kRun) {
      const bool last = end - k <= kRun;
      Run run = {k, last ? end : k + kRun, k == begin, last, {}};
      for (int r = 0; r < R; ++r) run.w[r] = b_rows(c, n + r, run.begin, run.end, c.work.w[r]);
      multiply_blocks<R>(c, run, n, g, block, blocks);
    }
  }
  for (int slot = 0; slot < blocks; ++slot) store_block<R>(c, n, slot, c.first_token(block + slot));
}

// Blocks in panels as even as can be; so many panels at a time that their activations stay in the
// L2 cache while the weights go by.
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
          panel<2>(c, n, from, count);
        } else {
          panel<1>(c, n, from, count);
        }
      }
    }
  }
}

// few_tokens: the row of linear_i8_vnni.h over the same Simd.
inline void multiply_all_amx(const LinearI8Args& a, LinearI8* few_tokens) {
  if (a.tokens < kBlock) return few_tokens(a);
  Work work;
  const int64_t x_groups = (a.w.cols + a.x_group - 1) / a.x_group;
  const int64_t w_groups = (a.w.cols + a.w.group - 1) / a.w.group;
  // Every group but the last of a row is whole steps. Part of a tile costs as long as a whole one,
  // which groups of fewer than 64 columns cannot fill.
  const int64_t step = x_groups == 1 || a.x_group % 64 == 0 ? 64 : a.x_group % 32 == 0 ? 32 : 16;
  const Call call = {a, work, step, x_groups, w_groups, w_groups == 1 && a.w.min == nullptr};
  configure(step);
  multiply_tiles(call);
  Tiles::release();
}

}  // namespace
}  // namespace klens::cpu
