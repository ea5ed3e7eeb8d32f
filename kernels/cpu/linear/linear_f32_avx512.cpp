// Built with -mavx512f -mavx512bw -mavx512dq -mavx512vl and AVX2's flags. See kernels/README.md for
// the one rule of such files.
#include "kernels/cpu/linear/expand_avx512.h"
#include "kernels/cpu/linear/linear_f32.h"

namespace klens::cpu {

LinearF32 linear_f32_avx512;

// The order of the sum for one (token, output), the same on every path below: columns in chunks of
// kChunk; within a chunk, which zeros fill to a multiple of kUnitCols, even and odd columns each in
// one chain of fused multiply-adds from zero, then even + odd; chunk after chunk added to y.
namespace {

constexpr int64_t kChunk = 256;
constexpr int64_t kPanel = kChunk * kTileOutputs;  // floats: a quarter to a half of an L1
constexpr int64_t kPanels = 16;  // expanded at a time, in L2, so that activations are packed
                                 // once for all of them
constexpr int64_t kPackStride = kChunk + 16;  // apart in the sets of an L1
#ifdef KLENS_SANITIZED
constexpr int kPanelTokens = 2, kDirectTokens = 2;  // more takes compilers a minute
#else
constexpr int kPanelTokens = 12;  // 12 x 2 accumulators, 2 weights, an activation pair: 27 of 32
constexpr int kDirectTokens = 8;  // up to here weights go from registers to FMA without a panel
#endif

// Sums of T tokens x 16 outputs, even and odd columns apart, in the unit's register order.
template <int T>
struct Sums {
  __m512 v[T][2];
};

template <int T>
inline void clear(Sums<T>& sums) {
  for (int t = 0; t < T; ++t)
    for (int h = 0; h < 2; ++h) sums.v[t][h] = _mm512_setzero_ps();
}

// [x0, x1] repeated for eight outputs.
inline __m512 broadcast2(const float* x) {
  const __m128i pair = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(x));
  return _mm512_castsi512_ps(_mm512_broadcastq_epi64(pair));
}

// y = even + odd in the first chunk, y + (even + odd) after; only the outputs that exist.
template <int T>
inline void add_to_y(const Sums<T>& sums, float* y, int64_t y_stride, int64_t outputs, bool first) {
  const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
  const __mmask16 mask = first_lanes(outputs);
  for (int t = 0; t < T; ++t) {
    const __m512 sum = _mm512_add_ps(_mm512_permutex2var_ps(sums.v[t][0], even, sums.v[t][1]),
                                     _mm512_permutex2var_ps(sums.v[t][0], odd, sums.v[t][1]));
    float* row = y + t * y_stride;
    store(row, mask, first ? sum : _mm512_add_ps(load(row, mask), sum));
  }
}

// Some tokens of a chunk, rows kPackStride apart, with zeros to a whole unit.
inline void pack(const float* x, int64_t x_stride, int64_t tokens, int64_t cols, float* to) {
  for (int64_t t = 0; t < tokens; ++t)
    for (int64_t k = 0; k < cols; k += kUnitCols)
      _mm512_store_ps(to + t * kPackStride + k, load(x + t * x_stride + k, first_lanes(cols - k)));
}

// T tokens of a chunk against a panel [pairs of columns][2 registers].
template <int T>
inline void multiply_panel(const float* panel, const float* x, int64_t cols, Sums<T>& sums) {
  clear(sums);
  for (int64_t k = 0; k < cols; k += 2) {
    const __m512 w0 = _mm512_load_ps(panel + k * kTileOutputs);
    const __m512 w1 = _mm512_load_ps(panel + k * kTileOutputs + 16);
    for (int t = 0; t < T; ++t) {
      const __m512 xt = broadcast2(x + t * kPackStride + k);
      sums.v[t][0] = _mm512_fmadd_ps(w0, xt, sums.v[t][0]);
      sums.v[t][1] = _mm512_fmadd_ps(w1, xt, sums.v[t][1]);
    }
  }
}

// Tiles [tile, end), whose panels are given, with T packed tokens from token t on.
template <int T>
inline void multiply_panels(const LinearF32Args& a, const float* panels, const float* x,
                            int64_t tile, int64_t end, int64_t t, int64_t k0, int64_t cols) {
  for (; tile < end; ++tile, panels += kPanel) {
    float* y = a.y + t * a.y_stride + tile * kTileOutputs;
    for (int i = 0; i < T; ++i)
      _mm_prefetch(reinterpret_cast<const char*>(y + i * a.y_stride), _MM_HINT_T0);
    Sums<T> sums;
    multiply_panel<T>(panels, x, cols, sums);
    add_to_y<T>(sums, y, a.y_stride, a.w.rows - tile * kTileOutputs, k0 == 0);
  }
}

template <int T = kPanelTokens>
inline void multiply_panels(int64_t tokens, const LinearF32Args& a, const float* panels,
                            const float* x, int64_t tile, int64_t end, int64_t t, int64_t k0,
                            int64_t cols) {
  if (tokens == T) {
    multiply_panels<T>(a, panels, x, tile, end, t, k0, cols);
  } else if constexpr (T > 1) {
    multiply_panels<T - 1>(tokens, a, panels, x, tile, end, t, k0, cols);
  }
}

// `left` columns of a tile from k0 on, filled up to a whole unit.
template <class Source>
inline void expand(const LinearF32Args& a, int64_t tile, int64_t k0, int64_t left, float* panel) {
  Source source;
  begin(source, a.w, tile, k0, false);
  for (int64_t k = 0; k < left; k += kUnitCols) {
    float* to = panel + k * kTileOutputs;
    const auto store = [to](int p, int h, __m512 w) __attribute__((always_inline)) {
      _mm512_store_ps(to + (2 * p + h) * 16, w);
    };
    if (left - k >= kUnitCols) {
      unit<true>(source, k0 + k, kUnitCols, store);
    } else {
      unit<false>(source, k0 + k, left - k, store);
    }
  }
}

// Many tokens: weights are expanded once for all of them. Few panels at a time stay in L2; chunks
// are the outer loop, so that the activations of a chunk stay there too, or near.
template <class Source>
inline void multiply_many(const LinearF32Args& a) {
  alignas(64) float panels[kPanels * kPanel], x[kPanelTokens * kPackStride];
  for (int64_t k0 = 0; k0 < a.w.cols; k0 += kChunk) {
    const int64_t left = a.w.cols - k0 < kChunk ? a.w.cols - k0 : kChunk;
    const int64_t cols = (left + kUnitCols - 1) / kUnitCols * kUnitCols;
    for (int64_t tile = a.tile_begin; tile < a.tile_end; tile += kPanels) {
      const int64_t end = a.tile_end - tile < kPanels ? a.tile_end : tile + kPanels;
      for (int64_t i = tile; i < end; ++i)
        expand<Source>(a, i, k0, left, panels + (i - tile) * kPanel);
      for (int64_t t = 0, count = 0; t < a.tokens; t += count) {
        const int64_t rest = a.tokens - t;  // the last two blocks share evenly
        count = rest >= 2 * kPanelTokens ? kPanelTokens
                : rest > kPanelTokens    ? (rest + 1) / 2
                                         : rest;
        pack(a.x + t * a.x_stride + k0, a.x_stride, count, left, x);
        multiply_panels(count, a, panels, x, tile, end, t, k0, cols);
      }
    }
  }
}

// Few tokens: bound by reading weights, which go from memory through registers into the sums.
template <class Source, int T>
inline void multiply_few(const LinearF32Args& a) {
  for (int64_t tile = a.tile_begin; tile < a.tile_end; ++tile) {
    Source source;
    begin(source, a.w, tile, 0, true);
    for (int64_t k0 = 0; k0 < a.w.cols; k0 += kChunk) {
      const int64_t end = a.w.cols - k0 < kChunk ? a.w.cols : k0 + kChunk;
      Sums<T> sums;
      clear(sums);
      int64_t k = k0;
      const float* x = a.x + k0;
      int64_t x_stride = a.x_stride;
      const auto multiply_add = [&](int p, int h, __m512 w) __attribute__((always_inline)) {
#pragma GCC unroll 8
        for (int t = 0; t < T; ++t)
          sums.v[t][h] = _mm512_fmadd_ps(w, broadcast2(x + t * x_stride + 2 * p), sums.v[t][h]);
      };
      for (; k + kUnitCols <= end; k += kUnitCols, x += kUnitCols)
        unit<true>(source, k, kUnitCols, multiply_add);
      if (k < end) {
        alignas(64) float last[T * kPackStride];
        pack(x, a.x_stride, T, end - k, last);
        x = last;
        x_stride = kPackStride;
        unit<false>(source, k, end - k, multiply_add);
      }
      add_to_y<T>(sums, a.y + tile * kTileOutputs, a.y_stride, a.w.rows - tile * kTileOutputs,
                  k0 == 0);
    }
  }
}

template <class Source, int T = kDirectTokens>
inline void multiply(const LinearF32Args& a) {
  if (a.tokens > T) {
    multiply_many<Source>(a);
  } else if (a.tokens == T) {
    multiply_few<Source, T>(a);
  } else if constexpr (T > 1) {
    multiply<Source, T - 1>(a);
  }
}

}  // namespace

void linear_f32_avx512(const LinearF32Args& a) {
  switch (a.w.layout) {
    case Layout::kRowsF32:
      return multiply<RowsSource<float>>(a);
    case Layout::kRowsF16:
      return multiply<RowsSource<Half>>(a);
    case Layout::kRowsBf16:
      return multiply<RowsSource<Bfloat>>(a);
    case Layout::kTilesF16:
      return multiply<TilesSource<TileCodes<Layout::kTilesF16>>>(a);
    default:
      with_codes(a.w, [&](auto codes) { multiply<TilesSource<decltype(codes)>>(a); });
  }
}

}  // namespace klens::cpu
