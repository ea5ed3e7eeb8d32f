// Built with -mavx2 -mfma -mf16c. See kernels/README.md for the one rule of such files.
#include "kernels/cpu/linear/expand_avx2.h"
#include "kernels/cpu/linear/linear_f32.h"

namespace klens::cpu {

LinearF32 linear_f32_avx2;

// The order of the sum for one (token, output), the same on every path below: columns in chunks of
// kChunk; within a chunk even and odd columns each in one chain of fused multiply-adds from zero,
// then even + odd; chunk after chunk added to y.
namespace {

constexpr int64_t kChunk = 256;  // a panel of 16 x 256 floats is 16 KiB, half of an L1
constexpr int kPanelTokens =
    3;  // 3 x 4 accumulators, 3 activation pairs and 1 weight: 16 registers
constexpr int kDirectTokens = 3;  // up to here weights go from registers to FMA without a panel

// Sums of T tokens x 16 outputs, even and odd columns apart, in the unit's register order.
template <int T>
struct Sums {
  __m256 v[T][4];
};

template <int T>
inline void clear(Sums<T>& sums) {
  for (int t = 0; t < T; ++t)
    for (int q = 0; q < 4; ++q) sums.v[t][q] = _mm256_setzero_ps();
}

// [x0, x1] repeated for four outputs; x1 = 0 where only one column is left.
inline __m256 broadcast2(const float* x) {
  const __m128i pair = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(x));
  return _mm256_castpd_ps(_mm256_broadcastsd_pd(_mm_castsi128_pd(pair)));
}
inline __m256 broadcast1(const float* x) {
  return _mm256_castpd_ps(_mm256_broadcastsd_pd(_mm_castps_pd(_mm_load_ss(x))));
}

// Eight outputs, even + odd, from two registers of four.
inline __m256 join(__m256 a, __m256 b) {
  const __m256 sums = _mm256_hadd_ps(a, b);  // outputs 0 1 4 5 | 2 3 6 7
  return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(sums), 0xd8));
}

// y = sums in the first chunk, y + sums after; only the outputs that exist.
template <int T>
inline void add_to_y(const Sums<T>& sums, float* y, int64_t y_stride, int64_t outputs, bool first) {
  for (int t = 0; t < T; ++t) {
    float* row = y + t * y_stride;
    __m256 low = join(sums.v[t][0], sums.v[t][1]), high = join(sums.v[t][2], sums.v[t][3]);
    if (outputs >= kTileOutputs) {
      if (!first) {
        low = _mm256_add_ps(_mm256_loadu_ps(row), low);
        high = _mm256_add_ps(_mm256_loadu_ps(row + 8), high);
      }
      _mm256_storeu_ps(row, low);
      _mm256_storeu_ps(row + 8, high);
      continue;
    }
    const __m256i mask = lanes_left(outputs);
    if (!first) low = _mm256_add_ps(_mm256_maskload_ps(row, mask), low);
    _mm256_maskstore_ps(row, mask, low);
    if (outputs > 8) {
      const __m256i rest = first_lanes(outputs - 8);
      if (!first) high = _mm256_add_ps(_mm256_maskload_ps(row + 8, rest), high);
      _mm256_maskstore_ps(row + 8, rest, high);
    }
  }
}

// The multiply-adds of T tokens against a panel [pairs of columns][4 registers].
template <int T>
inline void multiply_panel(const float* panel, const float* x, int64_t x_stride, int64_t cols,
                           Sums<T>& sums) {
  __m256 xt[T];
  int64_t k = 0;
  for (; k + 2 <= cols; k += 2) {
    for (int t = 0; t < T; ++t) xt[t] = broadcast2(x + t * x_stride + k);
    for (int q = 0; q < 4; ++q) {
      const __m256 w = _mm256_load_ps(panel + k * kTileOutputs + 8 * q);
      for (int t = 0; t < T; ++t) sums.v[t][q] = _mm256_fmadd_ps(w, xt[t], sums.v[t][q]);
    }
  }
  if (k < cols) {
    for (int t = 0; t < T; ++t) xt[t] = broadcast1(x + t * x_stride + k);
    for (int q = 0; q < 4; ++q) {
      const __m256 w = _mm256_load_ps(panel + k * kTileOutputs + 8 * q);
      for (int t = 0; t < T; ++t) sums.v[t][q] = _mm256_fmadd_ps(w, xt[t], sums.v[t][q]);
    }
  }
}

template <int T>
inline void panel_tokens(const float* panel, const LinearF32Args& a, int64_t tile, int64_t t,
                         int64_t k0, int64_t cols) {
  Sums<T> sums;
  clear(sums);
  multiply_panel<T>(panel, a.x + t * a.x_stride + k0, a.x_stride, cols, sums);
  add_to_y<T>(sums, a.y + t * a.y_stride + tile * kTileOutputs, a.y_stride,
              a.w.rows - tile * kTileOutputs, k0 == 0);
}

// Many tokens: each panel of weights is expanded once for all of them. Chunks are the outer loop,
// so that the activations of a chunk stay in L2 over all tiles.
template <class Source>
inline void multiply_many(const LinearF32Args& a) {
  alignas(64) float panel[kChunk * kTileOutputs];
  for (int64_t k0 = 0; k0 < a.w.cols; k0 += kChunk) {
    const int64_t cols = a.w.cols - k0 < kChunk ? a.w.cols - k0 : kChunk;
    for (int64_t tile = a.tile_begin; tile < a.tile_end; ++tile) {
      Source source;
      begin(source, a.w, tile, k0, false);
      for (int64_t k = 0; k < cols; k += kUnitCols) {
        float* to = panel + k * kTileOutputs;
        const auto store = [to](int p, int q, __m256 w) __attribute__((always_inline)) {
          _mm256_store_ps(to + (4 * p + q) * 8, w);
        };
        if (cols - k >= kUnitCols) {
          unit(source, k0 + k, store);
        } else {
          tail_unit(source, k0 + k, cols - k, store);
        }
      }
      int64_t t = 0;
      for (; t + kPanelTokens <= a.tokens; t += kPanelTokens)
        panel_tokens<kPanelTokens>(panel, a, tile, t, k0, cols);
      if (a.tokens - t == 2) panel_tokens<2>(panel, a, tile, t, k0, cols);
      if (a.tokens - t == 1) panel_tokens<1>(panel, a, tile, t, k0, cols);
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
      for (; k + kUnitCols <= end; k += kUnitCols) {
        const float* x = a.x + k;
        unit(
            source, k, [&](int p, int q, __m256 w) __attribute__((always_inline)) {
              for (int t = 0; t < T; ++t)
                sums.v[t][q] =
                    _mm256_fmadd_ps(w, broadcast2(x + t * a.x_stride + 2 * p), sums.v[t][q]);
            });
      }
      if (k < end) {
        const float* x = a.x + k;
        tail_unit(source, k, end - k, [&](int p, int q, __m256 w) {
          const int64_t left = end - k - 2 * p;
          if (left <= 0) return;
          for (int t = 0; t < T; ++t) {
            const float* xt = x + t * a.x_stride + 2 * p;
            sums.v[t][q] =
                _mm256_fmadd_ps(w, left > 1 ? broadcast2(xt) : broadcast1(xt), sums.v[t][q]);
          }
        });
      }
      add_to_y<T>(sums, a.y + tile * kTileOutputs, a.y_stride, a.w.rows - tile * kTileOutputs,
                  k0 == 0);
    }
  }
}

template <class Source>
inline void multiply(const LinearF32Args& a) {
  static_assert(kDirectTokens == 3, "the cases below");
  switch (a.tokens) {
    case 0:
      return;
    case 1:
      return multiply_few<Source, 1>(a);
    case 2:
      return multiply_few<Source, 2>(a);
    case 3:
      return multiply_few<Source, 3>(a);
    default:
      return multiply_many<Source>(a);
  }
}

}  // namespace

void linear_f32_avx2(const LinearF32Args& a) {
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
