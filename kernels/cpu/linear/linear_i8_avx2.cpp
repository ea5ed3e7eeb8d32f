// Built with -mavx2 -mfma -mf16c. See kernels/README.md for the one rule of such files.
#include "kernels/cpu/linear/linear_i8_avx2.h"

#include "kernels/cpu/vec_avx2.h"

namespace klens::cpu {

LinearI8 linear_i8_avx2;

namespace {

inline __m256 load_f16(const uint16_t* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}

// sums += dots, multiplied by the scales of x and, where not null, those of the group's weights.
template <int T>
__attribute__((always_inline)) inline void add_scaled(const Dots<T>& dots,
                                                      const Rows<T, const float>& x_scale,
                                                      const uint16_t* scale, __m256 (&sums)[T][2]) {
  if (scale == nullptr) {
    unrolled<T>([&](auto t) __attribute__((always_inline)) {
      const __m256 one = _mm256_set1_ps(*x_scale.at(t));
      unrolled<2>([&](auto h) __attribute__((always_inline)) {
        sums[t][h] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dots.v[t][h]), one, sums[t][h]);
      });
    });
    return;
  }
  const __m256 w_scale[2] = {load_f16(scale), load_f16(scale + 8)};
  unrolled<T>([&](auto t) __attribute__((always_inline)) {
    const __m256 one = _mm256_set1_ps(*x_scale.at(t));
    unrolled<2>([&](auto h) __attribute__((always_inline)) {
      const __m256 both = _mm256_mul_ps(w_scale[h], one);
      sums[t][h] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dots.v[t][h]), both, sums[t][h]);
    });
  });
}

// Writes the sums of tile row n, multiplied by their scale where an output has only one.
template <int T>
__attribute__((always_inline)) inline void store(const LinearI8Args& a, int64_t n,
                                                 const Rows<T, float>& y, const uint16_t* one_scale,
                                                 const __m256 (&sums)[T][2]) {
  const int64_t outputs = a.w.rows - n * kTileOutputs;
  each<T, 2>([&](auto t, auto h) __attribute__((always_inline)) {
    float* to = y.at(t) + n * kTileOutputs + 8 * h;
    const __m256 sum =
        one_scale != nullptr ? _mm256_mul_ps(sums[t][h], load_f16(one_scale + 8 * h)) : sums[t][h];
    if (outputs >= kTileOutputs) {
      _mm256_storeu_ps(to, sum);
    } else if (outputs > 8 * h) {
      _mm256_maskstore_ps(to, lanes_left(outputs - 8 * h), sum);
    }
  });
}

// The weights and scales of tile row n and those after it.
template <bool Int4>
struct Tiles {
  static constexpr int64_t kCols = Int4 ? 8 : 4;  // of a tile
  int64_t groups, row_bytes;
  const uint8_t* tiles;
  const uint16_t* scales;
  Tiles(const LinearI8Args& a, int64_t n)
      : groups((a.w.cols + a.w.group - 1) / a.w.group),
        row_bytes((a.w.cols + kCols - 1) / kCols * kTileBytes),
        tiles(static_cast<const uint8_t*>(a.w.data) + n * row_bytes),
        scales(a.w.scale + n * groups * kTileOutputs) {}
  // Of tile row n + r: the scales of group g, or null if there is only one; that one, or null.
  const uint16_t* scale(int64_t r, int64_t g) const {
    return groups == 1 ? nullptr : scales + (r * groups + g) * kTileOutputs;
  }
  const uint16_t* one_scale(int64_t r) const {
    return groups == 1 ? scales + r * kTileOutputs : nullptr;
  }
};

// Tile row n, for one token.
template <bool Int4>
inline void one_token(const LinearI8Args& a, int64_t n) {
  const Tiles<Int4> w(a, n);
  const Rows<1, float> y(a.y, a.y_stride);
  __m256 sums[1][2] = {{_mm256_setzero_ps(), _mm256_setzero_ps()}};
  for (int64_t k = 0, g = 0; k < a.w.cols; k += a.x_group, ++g) {
    const int64_t left = a.w.cols - k, cols = left < a.x_group ? left : a.x_group;
    Dots<1> dots;
    const uint32_t start = Int4 ? static_cast<uint32_t>(a.x_sum[g]) * -8u : 0;
    dots.v[0][0] = dots.v[0][1] = _mm256_set1_epi32(static_cast<int32_t>(start));
    const uint8_t* tile = w.tiles + k / w.kCols * kTileBytes;
    if constexpr (Int4) {
      one_dot_i4(tile, a.x + k, cols, dots);
    } else {
      one_dot_i8(tile, a.x + k, cols, dots);
    }
    add_scaled<1>(dots, Rows<1, const float>(a.x_scale + g, 0), w.scale(0, g), sums);
  }
  store<1>(a, n, y, w.one_scale(0), sums);
}

constexpr int64_t kTileRows = 4;  // that share the loads and the widening of activations

// Tile rows [n, n + rows) for T tokens from t0; rows at most kTileRows. Per group, in order of k:
// the exact integer dot product, then FP32: sum = dot * (w_scale * x_scale) + sum, or, with one
// scale per output, sum = dot * x_scale + sum and the scale at the end. The same for any T, and in
// one_token, so ranges do not show in the bits. `starts`: of these tokens, by sum_pairs, if Starts.
template <int T, bool Int4, bool Starts>
inline void block(const LinearI8Args& a, const int32_t* starts, int64_t n, int64_t rows,
                  int64_t t0) {
  const Tiles<Int4> w(a, n);
  const int64_t x_groups = (a.w.cols + a.x_group - 1) / a.x_group;
  Rows<T, const float> x_scale(a.x_scale + t0 * x_groups, x_groups);
  Rows<T, const int32_t> x_sum(Starts ? starts : a.x_sum + t0 * x_groups, x_groups);
  Rows<T, const int8_t> x(a.x + t0 * a.x_stride, a.x_stride);
  const Rows<T, float> y(a.y + t0 * a.y_stride, a.y_stride);

  __m256 sums[kTileRows][T][2];
  for (int64_t r = 0; r < rows; ++r) {
    each<T, 2>([&](auto t, auto h)
                   __attribute__((always_inline)) { sums[r][t][h] = _mm256_setzero_ps(); });
    unrolled<T>([&](auto t) __attribute__((always_inline)) {
      fetch_to_write(y.at(t) + (n + r) * kTileOutputs);
    });
  }
  Wide<T> wide;
  for (int64_t k = 0, g = 0; k < a.w.cols; k += a.x_group, ++g) {
    const int64_t left = a.w.cols - k, cols = left < a.x_group ? left : a.x_group;
    for (int64_t r = 0; r < rows; ++r) {
      // GCC otherwise keeps every activation that is broadcast, on the stack, for the next row.
      __asm__ volatile("" : : "r"(&wide), "r"(&sums) : "memory");
      const uint8_t* tile = w.tiles + r * w.row_bytes + k / w.kCols * kTileBytes;
      Dots<T> dots;
      if constexpr (Starts) {
        group64_i4<T>(tile, x, x_sum, dots);
      } else if constexpr (Int4) {
        group_i4<T>(tile, x, x_sum, cols, dots);
      } else {
        group_i8<T>(tile, x, cols, r > 0 && cols <= 32, wide, dots);
      }
      add_scaled<T>(dots, x_scale, w.scale(r, g), sums[r]);
    }
    x.advance(a.x_group);
    x_scale.advance(1);
    x_sum.advance(1);
  }
  for (int64_t r = 0; r < rows; ++r) store<T>(a, n + r, y, w.one_scale(r), sums[r]);
}

// Tokens [t_begin, t_end), in blocks as even as can be, of every tile row. Several tile rows
// together share the work on activations, as long as they are few enough to stay in L2 as well.
template <bool Int4, bool Starts>
inline void all_rows(const LinearI8Args& a, const int32_t* starts, int64_t t_begin, int64_t t_end) {
  constexpr int64_t kWeightBytes = 128 << 10;
  const int64_t tokens = t_end - t_begin, blocks = (tokens + kTokens - 1) / kTokens;
  const int64_t x_groups = (a.w.cols + a.x_group - 1) / a.x_group;
  const int64_t row_bytes = (a.w.cols + (Int4 ? 7 : 3)) / (Int4 ? 8 : 4) * kTileBytes;
  const int64_t fit = kWeightBytes / row_bytes;
  const int64_t most = fit < 1 ? 1 : fit < kTileRows ? fit : kTileRows;
  for (int64_t n = a.tile_begin, rows; n < a.tile_end; n += rows) {
    const int64_t left = a.tile_end - n;
    rows = left < most ? left : most;
    const int64_t next = left - rows < most ? left - rows : most;
    const auto* next_tiles = static_cast<const uint8_t*>(a.w.data) + (n + rows) * row_bytes;
    for (int64_t i = 0; i < blocks; ++i) {
      const int64_t from = tokens * i / blocks, to = tokens * (i + 1) / blocks;
      if (blocks > 1) fetch_share(next_tiles, next * row_bytes, i, blocks);
      with_constant<kTokens>(to - from, [&](auto count) {
        block<decltype(count)::kValue, Int4, Starts>(a, starts + (Starts ? from * x_groups : 0), n,
                                                     rows, t_begin + from);
      });
    }
  }
}

// So many tokens at a time that their activations stay in the L2 cache while the weights go by.
template <bool Int4>
inline void multiply_layout(const LinearI8Args& a) {
  if (a.tokens == 1) {
    for (int64_t n = a.tile_begin; n < a.tile_end; ++n) one_token<Int4>(a, n);
    return;
  }
  const int64_t fit = kActivationBytes / a.x_stride / kTokens * kTokens;
  const int64_t some = fit < kTokens ? kTokens : fit;
  const int64_t parts = (a.tokens + some - 1) / some;
  const bool sixty_four = Int4 && a.x_group == 64 && a.w.cols % 64 == 0;
  int32_t starts[Int4 ? kStarts : 1];
  for (int64_t i = 0; i < parts; ++i) {
    const int64_t t = a.tokens * i / parts, t_end = a.tokens * (i + 1) / parts;
    if (sixty_four && (t_end - t) * (a.w.cols / 64) <= kStarts) {
      sum_pairs(a, t, t_end, starts);
      all_rows<Int4, Int4>(a, starts, t, t_end);
    } else {
      all_rows<Int4, false>(a, starts, t, t_end);
    }
  }
}

}  // namespace

void linear_i8_avx2(const LinearI8Args& a) {
  if (a.w.layout == Layout::kTilesI4) {
    multiply_layout<true>(a);
  } else {
    multiply_layout<false>(a);
  }
}

}  // namespace klens::cpu
