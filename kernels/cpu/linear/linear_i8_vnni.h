// Shared by the rows of linear_i8 that have VPDPBUSD: one source for 256-bit and 512-bit registers.
// The file that includes it defines `struct Simd` (see linear_i8_vnni512.h) before. Everything is
// internal to that file, so the linker can never hand its copy to another.
#pragma once
#include "kernels/cpu/linear/codes_simd.h"
#include "kernels/cpu/linear/linear_i8.h"
#include "kernels/cpu/unrolled.h"

namespace klens::cpu {
namespace {

using Ints = Simd::Ints;      // int32 x Simd::kLanes, or four bytes in each lane
using Floats = Simd::Floats;  // float x Simd::kLanes

constexpr int64_t kPerTile = kTileOutputs / Simd::kLanes;  // vectors
constexpr int64_t kAhead = 1024;  // bytes of tiles that are asked for before they are needed

// What V vectors of outputs are read from. A vector is Simd::kLanes outputs: a tile row, or half of
// one.
template <int V>
struct Outputs {
  const uint8_t* tiles[V];
  const uint16_t *scales[V], *minima[V];
  int64_t first[V];  // output
};

// Whole tile rows, `apart` vectors from each other; for two vectors of 16 outputs 1, the next.
template <int V, class Codes>
inline Outputs<V> outputs_at(const LinearI8Args& a, int64_t vector, int64_t apart,
                             int64_t w_groups) {
  const int64_t row_bytes = (a.w.cols + Codes::kCols - 1) / Codes::kCols * Codes::kBytes;
  Outputs<V> out;
  for (int v = 0; v < V; ++v) {
    out.first[v] = (vector + v % kPerTile + v / kPerTile * apart) * Simd::kLanes;
    const int64_t row = out.first[v] / kTileOutputs, lane = out.first[v] % kTileOutputs;
    const auto* data = static_cast<const uint8_t*>(a.w.data);
    out.tiles[v] = data + row * row_bytes + lane * 4;
    out.scales[v] = a.w.scale + row * w_groups * kTileOutputs + lane;
    out.minima[v] = Codes::kMinima && a.w.min != nullptr
                        ? a.w.min + row * w_groups * kTileOutputs + lane
                        : nullptr;
  }
  return out;
}

template <int T, int V>
struct Dots {
  Ints v[T][V];
};

// dots += weights (unsigned) x the four activations at `offset` of every row.
template <int T, int V>
__attribute__((always_inline)) inline void multiply(const Ints (&w)[V],
                                                    const Rows<T, const int8_t>& x, int offset,
                                                    Dots<T, V>& dots) {
  unrolled<T>([&](auto t) __attribute__((always_inline)) {
    const Ints four = Simd::broadcast4(x.at(t) + offset);
    unrolled<V>([&](auto v)
                    __attribute__((always_inline)) { Simd::dot(dots.v[t][v], w[v], four); });
  });
}

// VPDPBUSD multiplies unsigned by signed bytes. Codes are stored unsigned, INT8 weights become w +
// 128 by one flipped bit, and the sums begin at minus the offset times the sum of the activations.
// Two sets of sums, for the two halves of a step, where few would wait for each other. The group is
// the columns [begin, begin + cols): whole tiles, but for the padding, or, if Sixteen, half of a
// tile of 32.
template <int T, int V, class Codes, bool Stream, bool Sixteen>
__attribute__((always_inline)) inline void dot_group(const Outputs<V>& out, int64_t begin,
                                                     int64_t cols, Rows<T, const int8_t> x,
                                                     Dots<T, V>& dots) {
  constexpr bool kTwo = T * V <= 6, kFull = Simd::kLanes == 8 && (T == Simd::kTokens || V > 2);
  Dots<T, V> even = dots, odd;
  if constexpr (kTwo)
    each<T, V>([&](auto t, auto v) __attribute__((always_inline)) { odd.v[t][v] = Simd::zero(); });
  const uint8_t* at[V];
  for (int v = 0; v < V; ++v) at[v] = out.tiles[v] + begin / Codes::kCols * Codes::kBytes;
  const auto load = [&](int v, int i) __attribute__((always_inline)) {
    if (Stream && v % kPerTile == 0) Simd::prefetch(at[v] + i * kLineBytes + kAhead);
    return Simd::load(at[v] + i * kLineBytes);
  };
  const auto next = [&](int count, int64_t columns) __attribute__((always_inline)) {
    for (int v = 0; v < V; ++v) at[v] += count * kLineBytes;
    x.advance(columns);
  };
  const int64_t tiles = (cols + Codes::kCols - 1) / Codes::kCols;
  Ints first[V], second[V];
  // The vectors from `from` on of a tile, by the activations at x.
  const auto vectors = [&](auto from, auto count) __attribute__((always_inline)) {
    unrolled<decltype(count)::kValue / 2>([&](auto pair) __attribute__((always_inline)) {
      constexpr int kX = 8 * decltype(pair)::kValue, kI = kX / 4 + decltype(from)::kValue;
      for (int v = 0; v < V; ++v) first[v] = codes_of<Codes, kI>(load, v);
      multiply<T, V>(first, x, kX, even);
      // Read again rather than kept, where the registers are all taken.
      if (kFull)
        for (int v = 0; v < V; ++v) __asm__("" : "+r"(at[v]));
      for (int v = 0; v < V; ++v) second[v] = codes_of<Codes, kI + 1>(load, v);
      multiply<T, V>(second, x, kX + 4, kTwo ? odd : even);
    });
  };
  if constexpr (Sixteen) {
    if (begin % 32 == 0) {
      vectors(Index<0>(), Index<4>());
    } else {
      vectors(Index<4>(), Index<4>());
    }
  } else if constexpr (!Codes::kInt8) {
    for (int64_t i = 0; i < tiles; ++i, next(Codes::kBytes / kLineBytes, Codes::kCols))
      vectors(Index<0>(), Index<Codes::kVectors>());
  } else {
    int64_t i = 0;
    for (; i + 2 <= tiles; i += 2, next(2, 8)) {
      for (int v = 0; v < V; ++v) first[v] = Simd::flip_sign(load(v, 0));
      multiply<T, V>(first, x, 0, even);
      for (int v = 0; v < V; ++v) second[v] = Simd::flip_sign(load(v, 1));
      multiply<T, V>(second, x, 4, kTwo ? odd : even);
    }
    if (i < tiles) {
      for (int v = 0; v < V; ++v) first[v] = Simd::flip_sign(load(v, 0));
      multiply<T, V>(first, x, 0, even);
    }
  }
  if constexpr (kTwo)
    each<T, V>([&](auto t, auto v) __attribute__((always_inline)) {
      even.v[t][v] = Simd::add(even.v[t][v], odd.v[t][v]);
    });
  dots = even;
}

// V vectors of outputs for T tokens. Per group, in order of k: the exact integer dot product, then
// FP32: sum = (dot * x_scale) * w_scale + sum, or, with one scale per output, sum = dot * x_scale +
// sum and the scale at the end. A minimum is another sum = x_scale x_sum * w_min + sum, also where
// there is one per output. The same for any T and V, so ranges do not show in the bits.
template <int T, int V, class Codes, bool Stream, bool Sixteen>
inline void block(const LinearI8Args& a, int64_t vector, int64_t apart, int64_t t0) {
  const int64_t x_groups = (a.w.cols + a.x_group - 1) / a.x_group;
  const int64_t w_groups = (a.w.cols + a.w.group - 1) / a.w.group;
  const Outputs<V> out = outputs_at<V, Codes>(a, vector, apart, w_groups);
  const bool minima = Codes::kMinima && a.w.min != nullptr, one_scale = w_groups == 1 && !minima;
  Rows<T, const float> x_scale(a.x_scale + t0 * x_groups, x_groups);
  Rows<T, const int32_t> x_sum(a.x_sum + t0 * x_groups, x_groups);
  const int8_t* x = a.x + t0 * a.x_stride;

  const Rows<T, float> y(a.y + t0 * a.y_stride, a.y_stride);
  each<T, V>([&](auto t, auto v)
                 __attribute__((always_inline)) { fetch_to_write(y.at(t) + out.first[v]); });

  Floats sums[T][V];
  each<T, V>([&](auto t, auto v)
                 __attribute__((always_inline)) { sums[t][v] = Simd::zero_floats(); });
  for (int64_t g = 0; g < x_groups; ++g, x_scale.advance(1), x_sum.advance(1)) {
    const int64_t begin = g * a.x_group, left = a.w.cols - begin;
    const int64_t cols = left < a.x_group ? left : a.x_group;
    Dots<T, V> dots;
    unrolled<T>([&](auto t) __attribute__((always_inline)) {
      const Ints start =
          minima ? Simd::zero() : Simd::template minus_scaled<Codes::kOffsetBits>(*x_sum.at(t));
      unrolled<V>([&](auto v) __attribute__((always_inline)) { dots.v[t][v] = start; });
    });
    dot_group<T, V, Codes, Stream, Sixteen>(out, begin, cols,
                                            Rows<T, const int8_t>(x + begin, a.x_stride), dots);
    if (one_scale) {
      each<T, V>([&](auto t, auto v) __attribute__((always_inline)) {
        sums[t][v] = Simd::multiply_add(Simd::to_floats(dots.v[t][v]),
                                        Simd::broadcast(*x_scale.at(t)), sums[t][v]);
      });
      continue;
    }
    const int64_t at_group = Codes::kMinima && w_groups == 1 ? 0 : g * kTileOutputs;
    Floats w_scale[V];
    for (int v = 0; v < V; ++v) w_scale[v] = Simd::load_f16(out.scales[v] + at_group);
    each<T, V>([&](auto t, auto v) __attribute__((always_inline)) {
      const Floats scaled =
          Simd::multiply(Simd::to_floats(dots.v[t][v]), Simd::broadcast(*x_scale.at(t)));
      sums[t][v] = Simd::multiply_add(scaled, w_scale[v], sums[t][v]);
    });
    if (!minima) continue;
    unrolled<V>([&](auto v) __attribute__((always_inline)) {
      const Floats w_min = Simd::load_f16(out.minima[v] + at_group);
      unrolled<T>([&](auto t) __attribute__((always_inline)) {
        const float sum = static_cast<float>(*x_sum.at(t)) * *x_scale.at(t);
        sums[t][v] = Simd::multiply_add(Simd::broadcast(sum), w_min, sums[t][v]);
      });
    });
  }
  if (one_scale)
    unrolled<V>([&](auto v) __attribute__((always_inline)) {
      const Floats w_scale = Simd::load_f16(out.scales[v]);
      unrolled<T>([&](auto t) __attribute__((always_inline)) {
        sums[t][v] = Simd::multiply(sums[t][v], w_scale);
      });
    });
  each<T, V>([&](auto t, auto v) __attribute__((always_inline)) {
    float* to = y.at(t) + out.first[v];
    if (out.first[v] + Simd::kLanes <= a.w.rows)
      Simd::store(to, sums[t][v]);
    else
      Simd::store_some(to, sums[t][v], a.w.rows - out.first[v]);
  });
}

// Tokens of a block, and those that are few. What only weights of the smallest formats need takes
// fewer: a block of each number is minutes of compilation.
template <class Codes, bool Sixteen>
struct Tokens {
  static constexpr bool kSmall = Sixteen || Codes::kBits < 4;
  static constexpr int kMost = kSmall && Simd::kTokens > 4 ? 4 : Simd::kTokens;
  static constexpr int kFew = kSmall && Simd::kFewTokens > 4 ? 4 : Simd::kFewTokens;
};

// Few tokens wait for the weights, which stream by once. One stream does not fill the memory's
// queues: a call's tile rows are cut into several that are read in turn.
template <class Codes, bool Sixteen>
inline void few_tokens(const LinearI8Args& a) {
  with_constant<Tokens<Codes, Sixteen>::kFew>(a.tokens, [&](auto tokens) {
    constexpr int T = decltype(tokens)::kValue, S = Simd::streams(T);
    const int64_t each = (a.tile_end - a.tile_begin) / S * kPerTile;
    int64_t v = a.tile_begin * kPerTile;
    for (; v < a.tile_begin * kPerTile + each; v += kPerTile)
      block<T, S * kPerTile, Codes, true, Sixteen>(a, v, each, 0);
    for (v += (S - 1) * each; v < a.tile_end * kPerTile; v += kPerTile)
      block<T, kPerTile, Codes, true, Sixteen>(a, v, 0, 0);
  });
}

// Tokens [t_begin, t_end) of V neighbouring vectors, in blocks as even as can be.
template <int V, class Codes, bool Sixteen>
inline void many_tokens(const LinearI8Args& a, int64_t vector, int64_t t_begin, int64_t t_end) {
  constexpr int kMost = Tokens<Codes, Sixteen>::kMost;
  const int64_t tokens = t_end - t_begin, blocks = (tokens + kMost - 1) / kMost;
  const int64_t row_bytes = (a.w.cols + Codes::kCols - 1) / Codes::kCols * Codes::kBytes;
  const int64_t next_vector = vector + V, left = a.tile_end * kPerTile - next_vector;
  const auto* next = static_cast<const uint8_t*>(a.w.data) + next_vector / kPerTile * row_bytes;
  const int64_t next_bytes = (left < V ? left : V) * row_bytes / kPerTile;
  for (int64_t i = 0; i < blocks; ++i) {
    const int64_t from = tokens * i / blocks, to = tokens * (i + 1) / blocks;
    fetch_share(next, next_bytes, i, blocks);
    with_constant<kMost>(to - from, [&](auto count) {
      block<decltype(count)::kValue, V, Codes, false, Sixteen>(a, vector, 1, t_begin + from);
    });
  }
}

// Many tokens take two vectors of outputs together, so that an activation serves twice, and so many
// of them at a time that their activations stay in the L2 cache while the weights go by.
template <class Codes, bool Sixteen>
inline void multiply_layout(const LinearI8Args& a) {
  constexpr int64_t kActivationBytes = 384 << 10;
  constexpr int kMost = Tokens<Codes, Sixteen>::kMost;
  if (a.tokens <= Tokens<Codes, Sixteen>::kFew) return few_tokens<Codes, Sixteen>(a);
  const int64_t begin = a.tile_begin * kPerTile, end = a.tile_end * kPerTile;
  const int64_t fit = kActivationBytes / a.x_stride / kMost * kMost;
  const int64_t some = fit < kMost ? kMost : fit;
  const int64_t parts = (a.tokens + some - 1) / some;
  for (int64_t i = 0; i < parts; ++i) {
    const int64_t t = a.tokens * i / parts, t_end = a.tokens * (i + 1) / parts;
    int64_t v = begin;
    for (; v + 2 <= end; v += 2) many_tokens<2, Codes, Sixteen>(a, v, t, t_end);
    if (v < end) many_tokens<1, Codes, Sixteen>(a, v, t, t_end);
  }
}

inline void multiply_all(const LinearI8Args& a) {
  with_codes(a.w, [&](auto codes) {
    using Codes = decltype(codes);
    if constexpr (Codes::kCols == 32) {
      if (a.x_group == 16) return multiply_layout<Codes, true>(a);
    }
    multiply_layout<Codes, false>(a);
  });
}

}  // namespace
}  // namespace klens::cpu
