// Shared by the rows of linear_i8 that have VPDPBUSD: one source for 256-bit and 512-bit registers.
// The file that includes it defines `struct Simd` (see linear_i8_avx512vnni.cpp) before. Everything
// is internal to that file, so the linker can never hand its copy to another.
#pragma once
#include "kernels/cpu/linear/linear_i8.h"

namespace klens::cpu {
namespace {

using Ints = Simd::Ints;      // int32 x Simd::kLanes, or four bytes in each lane
using Floats = Simd::Floats;  // float x Simd::kLanes

constexpr int64_t kAhead = 4096;  // bytes of a tile row that are asked for before they are needed

// What a block of T tokens and V vectors of outputs reads. A vector is Simd::kLanes outputs: a tile
// row, or half of one.
template <int V>
struct Outputs {
  const uint8_t* tiles[V];
  const uint16_t* scales[V];
};

template <int V>
inline Outputs<V> outputs_at(const LinearI8Args& a, int64_t vector, int64_t col_tiles,
                             int64_t w_groups) {
  Outputs<V> out;
  for (int v = 0; v < V; ++v) {
    const int64_t first = (vector + v) * Simd::kLanes;
    const int64_t row = first / kTileOutputs, lane = first % kTileOutputs;
    const auto* data = static_cast<const uint8_t*>(a.w.data);
    out.tiles[v] = data + row * col_tiles * kTileBytes + lane * 4;
    out.scales[v] = a.w.scale + row * w_groups * kTileOutputs + lane;
  }
  return out;
}

template <int T, int V>
struct Dots {
  Ints v[T][V];
};

// Rows of activations three to a pointer: x86 addresses base, base + stride and base + 2 stride, so
// that twelve rows take four registers.
template <int T>
struct Rows {
  const int8_t* base[(T + 2) / 3];
  int64_t stride;
  const int8_t* at(int t) const { return base[t / 3] + t % 3 * stride; }
  void advance(int64_t bytes) {
    for (const int8_t*& b : base) b += bytes;
  }
};

template <int T>
inline Rows<T> rows_at(const int8_t* x, int64_t stride) {
  Rows<T> rows;
  rows.stride = stride;
  for (int i = 0; i < (T + 2) / 3; ++i) rows.base[i] = x + 3 * i * stride;
  return rows;
}

// dots += weights (unsigned) x the four activations at `offset` of every row.
template <int T, int V>
inline void multiply(const Ints (&w)[V], const Rows<T>& x, int offset, Dots<T, V>& dots) {
  for (int t = 0; t < T; ++t) {
    const Ints four = Simd::broadcast4(x.at(t) + offset);
    for (int v = 0; v < V; ++v) dots.v[t][v] = Simd::dot(dots.v[t][v], w[v], four);
  }
}

// VPDPBUSD multiplies unsigned by signed bytes. INT4 weights are stored as w + 8, INT8 ones become
// w + 128 by one flipped bit, and the sums begin at -8 or -128 times the sum of the activations. Two
// sets of sums, for the two halves of a step, where one token alone would wait for each other.
template <int T, int V, bool Int4>
inline Dots<T, V> dot_group(const Outputs<V>& out, int64_t tile, int64_t tiles, Rows<T> x,
                            const int32_t* x_sum, int64_t sum_stride) {
  constexpr bool kTwo = T * V <= 6;
  Dots<T, V> dots, more;
  for (int t = 0; t < T; ++t) {
    const Ints start = Simd::minus_scaled<Int4 ? 3 : 7>(x_sum[t * sum_stride]);
    for (int v = 0; v < V; ++v) {
      dots.v[t][v] = start;
      more.v[t][v] = Simd::zero();
    }
  }
  const uint8_t* at[V];
  for (int v = 0; v < V; ++v) at[v] = out.tiles[v] + tile * kTileBytes;
  const auto load = [&](int v, int i) {
    if (T == 1) Simd::prefetch(at[v] + i * kTileBytes + kAhead);
    return Simd::load(at[v] + i * kTileBytes);
  };
  const auto next = [&](int count, int64_t cols) {
    for (int v = 0; v < V; ++v) at[v] += count * kTileBytes;
    x.advance(cols);
  };
  Ints w[V], high[V];
  if constexpr (Int4) {
    for (int64_t i = 0; i < tiles; ++i, next(1, 8)) {
      for (int v = 0; v < V; ++v) {
        const Ints both = load(v, 0);
        w[v] = Simd::low_nibbles(both);
        high[v] = Simd::high_nibbles(both);
      }
      multiply<T, V>(w, x, 0, dots);
      multiply<T, V>(high, x, 4, kTwo ? more : dots);
    }
  } else {
    int64_t i = 0;
    for (; i + 2 <= tiles; i += 2, next(2, 8)) {
      for (int v = 0; v < V; ++v) w[v] = Simd::flip_sign(load(v, 0));
      multiply<T, V>(w, x, 0, dots);
      for (int v = 0; v < V; ++v) high[v] = Simd::flip_sign(load(v, 1));
      multiply<T, V>(high, x, 4, kTwo ? more : dots);
    }
    if (i < tiles) {
      for (int v = 0; v < V; ++v) w[v] = Simd::flip_sign(load(v, 0));
      multiply<T, V>(w, x, 0, dots);
    }
  }
  if (kTwo)
    for (int t = 0; t < T; ++t)
      for (int v = 0; v < V; ++v) dots.v[t][v] = Simd::add(dots.v[t][v], more.v[t][v]);
  return dots;
}

// V vectors of outputs for T tokens. Per group, in order of k: the exact integer dot product, then
// FP32: sum = (dot * x_scale) * w_scale + sum, or, with one scale per output, sum = dot * x_scale +
// sum and the scale at the end. The same for any T and V, so ranges do not show in the bits.
template <int T, int V, bool Int4>
inline void block(const LinearI8Args& a, int64_t vector, int64_t t0) {
  constexpr int64_t kCols = Int4 ? 8 : 4;  // of a tile
  const int64_t x_groups = (a.w.cols + a.x_group - 1) / a.x_group;
  const int64_t w_groups = (a.w.cols + a.w.group - 1) / a.w.group;
  const Outputs<V> out = outputs_at<V>(a, vector, (a.w.cols + kCols - 1) / kCols, w_groups);
  const float* x_scale = a.x_scale + t0 * x_groups;
  const int32_t* x_sum = a.x_sum + t0 * x_groups;
  const int8_t* x = a.x + t0 * a.x_stride;

  Floats sums[T][V];
  for (int t = 0; t < T; ++t)
    for (int v = 0; v < V; ++v) sums[t][v] = Simd::zero_floats();
  for (int64_t g = 0; g < x_groups; ++g) {
    const int64_t begin = g * a.x_group, left = a.w.cols - begin;
    const int64_t cols = left < a.x_group ? left : a.x_group;
    const Dots<T, V> dots = dot_group<T, V, Int4>(out, begin / kCols, (cols + kCols - 1) / kCols,
                                                  rows_at<T>(x + begin, a.x_stride), x_sum + g,
                                                  x_groups);
    if (w_groups == 1) {
      for (int t = 0; t < T; ++t)
        for (int v = 0; v < V; ++v)
          sums[t][v] = Simd::multiply_add(Simd::to_floats(dots.v[t][v]),
                                          Simd::broadcast(x_scale[t * x_groups + g]), sums[t][v]);
      continue;
    }
    Floats w_scale[V];
    for (int v = 0; v < V; ++v) w_scale[v] = Simd::load_f16(out.scales[v] + g * kTileOutputs);
    for (int t = 0; t < T; ++t)
      for (int v = 0; v < V; ++v)
        sums[t][v] = Simd::multiply_add(
            Simd::multiply(Simd::to_floats(dots.v[t][v]),
                           Simd::broadcast(x_scale[t * x_groups + g])),
            w_scale[v], sums[t][v]);
  }
  for (int v = 0; v < V; ++v) {
    const int64_t first = (vector + v) * Simd::kLanes;
    for (int t = 0; t < T; ++t) {
      if (w_groups == 1) sums[t][v] = Simd::multiply(sums[t][v], Simd::load_f16(out.scales[v]));
      Simd::store(a.y + (t0 + t) * a.y_stride + first, sums[t][v], a.w.rows - first);
    }
  }
}

template <int V, bool Int4>
inline void some_tokens(const LinearI8Args& a, int64_t vector, int64_t t0, int64_t count) {
  switch (count) {
    case 1:
      return block<1, V, Int4>(a, vector, t0);
    case 2:
      return block<2, V, Int4>(a, vector, t0);
    case 3:
      return block<3, V, Int4>(a, vector, t0);
    case 4:
      return block<4, V, Int4>(a, vector, t0);
    case 5:
      return block<5, V, Int4>(a, vector, t0);
    case 6:
      return block<6, V, Int4>(a, vector, t0);
    default:
      break;
  }
  if constexpr (Simd::kTokens > 6) {
    switch (count) {
      case 7:
        return block<7, V, Int4>(a, vector, t0);
      case 8:
        return block<8, V, Int4>(a, vector, t0);
      case 9:
        return block<9, V, Int4>(a, vector, t0);
      case 10:
        return block<10, V, Int4>(a, vector, t0);
      case 11:
        return block<11, V, Int4>(a, vector, t0);
      case 12:
        return block<12, V, Int4>(a, vector, t0);
      default:
        break;
    }
  }
}

// Tokens [t_begin, t_end) in blocks as even as can be.
template <int V, bool Int4>
inline void all_tokens(const LinearI8Args& a, int64_t vector, int64_t t_begin, int64_t t_end) {
  const int64_t tokens = t_end - t_begin, blocks = (tokens + Simd::kTokens - 1) / Simd::kTokens;
  for (int64_t i = 0; i < blocks; ++i) {
    const int64_t from = tokens * i / blocks, to = tokens * (i + 1) / blocks;
    some_tokens<V, Int4>(a, vector, t_begin + from, to - from);
  }
}

// Tokens are taken so many at a time that their activations stay in the L2 cache while the weights
// go by.
constexpr int64_t kActivationBytes = 384 << 10;

template <bool Int4>
inline void multiply_all(const LinearI8Args& a) {
  constexpr int64_t kPerTile = kTileOutputs / Simd::kLanes;
  const int64_t begin = a.tile_begin * kPerTile, end = a.tile_end * kPerTile;
  const int64_t fit = kActivationBytes / a.x_stride / Simd::kTokens * Simd::kTokens;
  const int64_t some = fit < Simd::kTokens ? Simd::kTokens : fit;
  for (int64_t t = 0; t < a.tokens; t += some) {
    const int64_t t_end = a.tokens - t < some ? a.tokens : t + some;
    int64_t vector = begin;
    for (; vector + 2 <= end; vector += 2) all_tokens<2, Int4>(a, vector, t, t_end);
    if (vector < end) all_tokens<1, Int4>(a, vector, t, t_end);
  }
}

}  // namespace
}  // namespace klens::cpu
