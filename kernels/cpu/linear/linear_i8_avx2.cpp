// Built with -mavx2 -mfma -mf16c. See kernels/README.md for the one rule of such files.
#include "kernels/cpu/linear/linear_i8_avx2.h"

#include "kernels/cpu/linear/linear_i8_avx2_bytes.h"
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
                                                      const uint16_t* scale, __m256 (*sums)[2]) {
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

// sums += the minima of the group's weights, multiplied by x_scale x_sum. Their own additions,
// after those of add_scaled.
template <int T>
__attribute__((always_inline)) inline void add_minima(const Rows<T, const int32_t>& x_sum,
                                                      const Rows<T, const float>& x_scale,
                                                      const uint16_t* min, __m256 (*sums)[2]) {
  const __m256 w_min[2] = {load_f16(min), load_f16(min + 8)};
  unrolled<T>([&](auto t) __attribute__((always_inline)) {
    const __m256 one = _mm256_set1_ps(static_cast<float>(*x_sum.at(t)) * *x_scale.at(t));
    unrolled<2>([&](auto h) __attribute__((always_inline)) {
      sums[t][h] = _mm256_fmadd_ps(w_min[h], one, sums[t][h]);
    });
  });
}

// Writes the sums of tile row n, multiplied by their scale where an output has only one.
template <int T>
__attribute__((always_inline)) inline void store(const LinearI8Args& a, int64_t n,
                                                 const Rows<T, float>& y, const uint16_t* one_scale,
                                                 const __m256 (*sums)[2]) {
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

// The weights of tile row n and those after it, and what their groups have.
template <class Codes>
struct Tiles {
  int64_t groups, row_bytes;
  const uint8_t* tiles;
  const uint16_t *scales, *minima;
  Tiles(const LinearI8Args& a, int64_t n)
      : groups((a.w.cols + a.w.group - 1) / a.w.group),
        row_bytes((a.w.cols + Codes::kCols - 1) / Codes::kCols * Codes::kBytes),
        tiles(static_cast<const uint8_t*>(a.w.data) + n * row_bytes),
        scales(a.w.scale + n * groups * kTileOutputs),
        minima(Codes::kMinima && a.w.min != nullptr ? a.w.min + n * groups * kTileOutputs
                                                    : nullptr) {}
  // Of tile row n + r from column k, which begins a tile.
  const uint8_t* at(int64_t r, int64_t k) const {
    return tiles + r * row_bytes + k / Codes::kCols * Codes::kBytes;
  }
  // One scale is for the end, unless there is a minimum to add to what it scales.
  bool scale_last() const { return groups == 1 && minima == nullptr; }
  // Of tile row n + r: the scales of group g, or null if there is only one; that one, or null.
  const uint16_t* scale(int64_t r, int64_t g) const {
    return scale_last() ? nullptr : scales + at_group(r, g);
  }
  const uint16_t* one_scale(int64_t r) const {
    return scale_last() ? scales + r * kTileOutputs : nullptr;
  }
  const uint16_t* min(int64_t r, int64_t g) const { return minima + at_group(r, g); }
  int64_t at_group(int64_t r, int64_t g) const {
    return (Codes::kMinima && groups == 1 ? r : r * groups + g) * kTileOutputs;
  }
};

// What a group's dot products start at. Integers are codes less an offset, if there are no minima.
template <class Codes, int T>
__attribute__((always_inline)) inline void start(const Tiles<Codes>& w,
                                                 const Rows<T, const int32_t>& x_sum,
                                                 Dots<T>& dots) {
  unrolled<T>([&](auto t) __attribute__((always_inline)) {
    dots.v[t][0] = _mm256_setzero_si256();
    if (w.minima == nullptr) {
      const __m256i sum = _mm256_set1_epi32(*x_sum.at(t));
      dots.v[t][0] = _mm256_sub_epi32(dots.v[t][0], _mm256_slli_epi32(sum, Codes::kOffsetBits));
    }
    dots.v[t][1] = dots.v[t][0];
  });
}

// What one token reads of a group is asked for two pages before it is needed: what comes in by
// itself stops at the end of each page. GCC drops calls of a function that does nothing else, so
// this is none.
template <class Codes>
__attribute__((always_inline)) inline void ask_ahead(const Tiles<Codes>& w, int64_t k, int64_t g,
                                                     int64_t cols) {
  constexpr int64_t kAhead = 8192;
  constexpr int64_t kNumbers = kAhead / Codes::kBytes * Codes::kCols / 16;  // of scales, about
  const int64_t bytes = cols * Codes::kBytes / Codes::kCols;
  const uint8_t* tiles = w.at(0, k) + kAhead;
  for (int64_t i = 0; i < bytes; i += kLineBytes) _mm_prefetch(tiles + i, _MM_HINT_T0);
  if (!w.scale_last())
    _mm_prefetch(reinterpret_cast<const char*>(w.scale(0, g) + kNumbers), _MM_HINT_T0);
  if (w.minima != nullptr)
    _mm_prefetch(reinterpret_cast<const char*>(w.min(0, g) + kNumbers), _MM_HINT_T0);
}

// Tile row n, for one token.
template <class Codes>
__attribute__((always_inline)) inline void one_token(const LinearI8Args& a, int64_t n) {
  const Tiles<Codes> w(a, n);
  const Rows<1, float> y(a.y, a.y_stride);
  __m256 sums[1][2] = {{_mm256_setzero_ps(), _mm256_setzero_ps()}};
  for (int64_t k = 0, g = 0; k < a.w.cols; k += a.x_group, ++g) {
    const int64_t left = a.w.cols - k, cols = left < a.x_group ? left : a.x_group;
    const Rows<1, const int32_t> x_sum(a.x_sum + g, 0);
    const Rows<1, const float> x_scale(a.x_scale + g, 0);
    ask_ahead(w, k, g, cols);
    Dots<1> dots;
    if constexpr (Codes::kInt8) {
      dots.v[0][0] = dots.v[0][1] = _mm256_setzero_si256();
      one_dot_i8(w.at(0, k), a.x + k, cols, dots);
    } else {
      start<Codes, 1>(w, x_sum, dots);
      if constexpr (Codes::kLayout == Layout::kTilesI4) {
        one_dot_i4(w.at(0, k), a.x + k, cols, dots);
      } else {
        one_dot_codes<Codes>(w.at(0, k), a.x + k, k, cols, a.x_group == 16, dots);
      }
    }
    add_scaled<1>(dots, x_scale, w.scale(0, g), sums);
    if (w.minima != nullptr) add_minima<1>(x_sum, x_scale, w.min(0, g), sums);
  }
  store<1>(a, n, y, w.one_scale(0), sums);
}

// A function of its own, whatever GCC thinks, which in a larger one runs out of registers.
template <class Codes>
__attribute__((noinline)) void one_token(const LinearI8Args& a) {
  for (int64_t n = a.tile_begin; n < a.tile_end; ++n) one_token<Codes>(a, n);
}

// Tile rows [n, n + rows) for T tokens from t0; rows at most kTileRows. Per group, in order of k:
// the exact integer dot product, then FP32: sum = dot * (w_scale * x_scale) + sum, or, with one
// scale per output, sum = dot * x_scale + sum and the scale at the end. The same for any T, and in
// one_token, so ranges do not show in the bits. `starts`: of these tokens, by sum_pairs, if Starts.
template <int T, class Codes, bool Starts>
inline void block(const LinearI8Args& a, const int32_t* starts, int64_t n, int64_t rows,
                  int64_t t0) {
  const Tiles<Codes> w(a, n);
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
      const uint8_t* tile = w.at(r, k);
      Dots<T> dots;
      if constexpr (Starts) {
        group64_i4<T>(tile, x, x_sum, dots);
      } else if constexpr (!Codes::kInt8) {
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

// What the groups that have columns [k, end) have of tile row n + r: of one scale per output, which
// is for the end, here nothing but 1.
template <class Codes>
inline void expand_groups(const LinearI8Args& a, const Tiles<Codes>& w, int64_t r, int64_t k,
                          int64_t end, Panel& panel) {
  const int64_t first = k / a.x_group, groups = (end - 1) / a.x_group + 1 - first;
  for (int64_t g = 0; g < groups; ++g)
    for (int h = 0; h < 2; ++h) {
      const uint16_t* scale = w.scale(r, first + g);
      _mm256_store_ps(panel.w_scale[g] + 8 * h,
                      scale != nullptr ? load_f16(scale + 8 * h) : _mm256_set1_ps(1));
      if (w.minima != nullptr)
        _mm256_store_ps(panel.w_min[g] + 8 * h, load_f16(w.min(r, first + g) + 8 * h));
    }
}

// Codes of which 16-bit sums over a piece are not too large even where all are positive.
template <class Codes>
constexpr bool kFewBits = Codes::kBits <= 4;

// Columns [k, end) of tile row n + r, a run, for T tokens from t0 of the panel, whose dots of a
// group that is not at its end are kept in `partial`. As block(), in whose order every sum is.
template <int T, int Piece, class Codes, bool Minima>
inline void panel_block(const LinearI8Args& a, int64_t r, int64_t k, int64_t end, int64_t t0,
                        Panel& panel, __m256i (*partial)[2]) {
  __m256(*sums)[2] = panel.sums[r] + t0;
  partial += t0;
  int64_t g = 0, group_begin = k / a.x_group * a.x_group, group_end = group_begin + a.x_group;
  if (group_end > a.w.cols) group_end = a.w.cols;
  for (int64_t from = k; from < end; from += Piece) {
    Dots<T> dots;
    dot_piece<T, Piece>(panel, from - k, t0, dots);
    if (from != group_begin)
      each<T, 2>([&](auto t, auto h) __attribute__((always_inline)) {
        dots.v[t][h] = _mm256_add_epi32(dots.v[t][h], partial[t][h]);
      });
    if (from + Piece < group_end) {
      each<T, 2>([&](auto t, auto h)
                     __attribute__((always_inline)) { partial[t][h] = dots.v[t][h]; });
      continue;
    }
    const float *x_scale = panel.x_scale[g] + t0, *x_min = panel.x_min[g] + t0;
    const float *w_scale = panel.w_scale[g], *w_min = panel.w_min[g];
    const int32_t* offsets = panel.offsets[g] + t0;
    unrolled<T>([&](auto t) __attribute__((always_inline)) {
      __asm__ volatile("" : : : "memory");  // nothing is loaded ahead, for want of registers
      const __m256 one = _mm256_set1_ps(x_scale[t]);
      unrolled<2>([&](auto h) __attribute__((always_inline)) {
        __m256i dot = dots.v[t][h];
        if constexpr (Minima && !kFewBits<Codes>)
          dot = _mm256_add_epi32(dot, _mm256_set1_epi32(offsets[t]));
        const __m256 both = _mm256_mul_ps(_mm256_load_ps(w_scale + 8 * h), one);
        __m256 sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot), both, sums[t][h]);
        if constexpr (Minima)
          sum = _mm256_fmadd_ps(_mm256_load_ps(w_min + 8 * h), _mm256_set1_ps(x_min[t]), sum);
        sums[t][h] = sum;
      });
    });
    ++g;
    group_begin = group_end;
    group_end = group_end + a.x_group < a.w.cols ? group_end + a.x_group : a.w.cols;
  }
}

// Tile rows [n, n + rows) for as many tokens as a panel has.
template <int Piece, bool Minima, class Codes>
inline void multiply_panel(const LinearI8Args& a, int64_t n, int64_t rows, int64_t t0,
                           int64_t tokens) {
  const Tiles<Codes> w(a, n);
  Panel panel;
  panel.t0 = t0;
  panel.tokens = tokens;
  panel.x_groups = (a.w.cols + a.x_group - 1) / a.x_group;
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t t = 0; t < tokens; ++t)
      panel.sums[r][t][0] = panel.sums[r][t][1] = _mm256_setzero_ps();
  const int64_t blocks = (tokens + kTokens - 1) / kTokens;
  const bool whole_groups = kRun % a.x_group == 0;  // in a run
  for (int64_t k = 0; k < a.w.cols; k += kRun) {
    const int64_t end = a.w.cols - k < kRun ? a.w.cols : k + kRun;
    pack<Piece>(a, k, end, Minima && kFewBits<Codes> ? 0 : 1 << Codes::kOffsetBits, panel);
    pack_groups(a, k, end, Codes::kOffsetBits, panel);
    for (int64_t r = 0; r < rows; ++r) {
      unpack<Codes>(w.at(r, k), end - k, panel.lines);
      expand_groups(a, w, r, k, end, panel);
      for (int64_t i = 0; i < blocks; ++i) {
        const int64_t t = tokens * i / blocks;
        with_constant<kTokens>(tokens * (i + 1) / blocks - t, [&](auto count) {
          panel_block<decltype(count)::kValue, Piece, Codes, Minima>(
              a, r, k, end, t, panel, panel.dots[whole_groups ? 0 : r]);
        });
      }
    }
  }
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t t = 0; t < tokens; ++t)
      store<1>(a, n + r, Rows<1, float>(a.y + (t0 + t) * a.y_stride, 0), w.one_scale(r),
               panel.sums[r] + t);
}

// Tokens [t_begin, t_end), in blocks as even as can be, of every tile row. Several tile rows
// together share the work on activations, as long as they are few enough to stay in L2 as well.
// multiply(n, rows, from, to): so many tile rows, for the tokens from t_begin + from on.
template <class Codes, class F>
inline void all_rows(const LinearI8Args& a, int64_t tokens, int64_t most_tokens,
                     const F& multiply) {
  constexpr int64_t kWeightBytes = 128 << 10;
  const int64_t blocks = (tokens + most_tokens - 1) / most_tokens;
  const int64_t row_bytes = Tiles<Codes>(a, 0).row_bytes;
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
      multiply(n, rows, from, to);
    }
  }
}

// The tokens from t to t_end of what is unpacked to bytes.
template <int Piece, bool Minima, class Codes>
inline void all_panels(const LinearI8Args& a, int64_t t, int64_t t_end) {
  all_rows<Codes>(
      a, t_end - t, kPanelTokens,
      [&](int64_t n, int64_t rows, int64_t from, int64_t to) __attribute__((always_inline)) {
        multiply_panel<Piece, Minima, Codes>(a, n, rows, t + from, to - from);
      });
}

template <class Codes, bool Starts>
inline void all_blocks(const LinearI8Args& a, const int32_t* starts, int64_t t_begin,
                       int64_t t_end) {
  const int64_t x_groups = (a.w.cols + a.x_group - 1) / a.x_group;
  all_rows<Codes>(
      a, t_end - t_begin, kTokens,
      [&](int64_t n, int64_t rows, int64_t from, int64_t to) __attribute__((always_inline)) {
        with_constant<kTokens>(to - from, [&](auto count) {
          block<decltype(count)::kValue, Codes, Starts>(a, starts + (Starts ? from * x_groups : 0),
                                                        n, rows, t_begin + from);
        });
      });
}

// The tokens from t to t_end, whose activations stay in the L2 cache while the weights go by.
template <class Codes>
inline void multiply_part(const LinearI8Args& a, int64_t t, int64_t t_end) {
  if constexpr (Codes::kMinima) {
    const auto panels = [&](auto minima) {
      constexpr bool kMin = decltype(minima)::kValue != 0;
      if (Codes::kBits == 6 || a.x_group == 16) {
        all_panels<16, kMin, Codes>(a, t, t_end);
      } else if constexpr (Codes::kBits != 6) {
        all_panels<32, kMin, Codes>(a, t, t_end);
      }
    };
    if (a.w.min != nullptr) {
      panels(Index<1>());
    } else if constexpr (Codes::kLayout != Layout::kTilesI4) {
      panels(Index<0>());
    }
  } else {
    constexpr bool kInt4 = !Codes::kInt8;
    int32_t starts[kInt4 ? kStarts : 1];
    const bool sixty_four = kInt4 && a.x_group == 64 && a.w.cols % 64 == 0;
    if (sixty_four && (t_end - t) * (a.w.cols / 64) <= kStarts) {
      sum_pairs(a, t, t_end, starts);
      all_blocks<Codes, kInt4>(a, starts, t, t_end);
    } else {
      all_blocks<Codes, false>(a, nullptr, t, t_end);
    }
  }
}

template <class Codes>
inline void multiply_layout(const LinearI8Args& a) {
  if (a.tokens == 1) {
    one_token<Codes>(a);
    return;
  }
  const int64_t fit = kActivationBytes / a.x_stride / kTokens * kTokens;
  const int64_t some = fit < kTokens ? kTokens : fit;
  const int64_t parts = (a.tokens + some - 1) / some;
  for (int64_t i = 0; i < parts; ++i)
    multiply_part<Codes>(a, a.tokens * i / parts, a.tokens * (i + 1) / parts);
}

}  // namespace

void linear_i8_avx2(const LinearI8Args& a) {
  with_codes(a.w, [&](auto codes) { multiply_layout<decltype(codes)>(a); });
}

}  // namespace klens::cpu
