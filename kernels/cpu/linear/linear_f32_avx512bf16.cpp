// Built with AVX-512's flags and -mavx512bf16. See kernels/README.md for the one rule of such
// files.
#include "kernels/cpu/linear/panels_bf16.h"

namespace klens::cpu {

LinearF32 linear_f32_avx512, linear_f32_avx512bf16;

// The sum for one (token, output) is one chain of products of pairs in the order of the columns,
// which zeros fill to a multiple of kUnitCols; y holds it between chunks. So neither chunks nor the
// shape of tiles show in the bits.
namespace {

#ifdef KLENS_SANITIZED
constexpr int kTokens = 2;  // more takes compilers a minute
#else
constexpr int kTokens = 12;  // 12 x 2 accumulators, 2 weights, a pair of activations: 27 of 32
#endif
constexpr int kTiles = 2;

// What pack() reads of the next tokens, asked for while others are multiplied: it comes from L3.
struct Ahead {
  const char *at, *row_end;
  int64_t row_bytes, stride;
  int64_t rows;
};

inline Ahead ahead_of(const float* x, int64_t x_stride, int64_t tokens, int64_t cols) {
  constexpr int64_t kFloat = sizeof(float);
  const char* at = reinterpret_cast<const char*>(x);
  return {at, at + cols * kFloat, cols * kFloat, x_stride * kFloat, tokens};
}

inline __attribute__((always_inline)) void ask(Ahead& ahead) {
  if (ahead.rows <= 0) return;
  _mm_prefetch(ahead.at, _MM_HINT_T0);
  ahead.at += kLineBytes;
  if (ahead.at < ahead.row_end) return;
  ahead.at = ahead.row_end + ahead.stride - ahead.row_bytes;
  ahead.row_end += ahead.stride;
  --ahead.rows;
}

// T packed tokens against V panels; pairs is a multiple of kSteps.
template <int T, int V>
inline void multiply_panels(const Pair* panel, const Pair* x, int64_t pairs, float* y,
                            int64_t y_stride, const __mmask16 (&outputs)[V], bool first,
                            Ahead& ahead) {
  constexpr int64_t kSteps = kUnitCols / 2;
  constexpr int kAsked = 2;  // lines for as many steps, which cover the next tokens
  __m512 sums[T][V];
  for (int t = 0; t < T; ++t)
    for (int v = 0; v < V; ++v) {
      const float* from = y + t * y_stride + v * kTileOutputs;
      sums[t][v] = first ? _mm512_setzero_ps() : load(from, outputs[v]);
    }
  for (int64_t begin = 0; begin < pairs; begin += kSteps) {
    for (int i = 0; i < kAsked; ++i) ask(ahead);
    for (int64_t k = begin; k < begin + kSteps; ++k) {
      __m512i w[V];
      for (int v = 0; v < V; ++v) w[v] = _mm512_load_si512(panel + v * kPanel + k * kTileOutputs);
      for (int t = 0; t < T; ++t) {
        const __m512i xt = each_pair(x[t * kPackStride + k]);
        for (int v = 0; v < V; ++v) sums[t][v] = multiply_add_pairs(w[v], xt, sums[t][v]);
      }
    }
  }
  for (int t = 0; t < T; ++t)
    for (int v = 0; v < V; ++v) store(y + t * y_stride + v * kTileOutputs, outputs[v], sums[t][v]);
}

// Tiles [tile, end), whose panels are given, with T packed tokens from token t on.
template <int T, int V>
inline void multiply_tiles(const LinearF32Args& a, const Pair* panels, const Pair* x, int64_t tile,
                           int64_t end, int64_t t, int64_t k0, int64_t pairs, Ahead& ahead) {
  for (; tile + V <= end; tile += V, panels += V * kPanel) {
    __mmask16 outputs[V];
    for (int v = 0; v < V; ++v) outputs[v] = first_lanes(a.w.rows - (tile + v) * kTileOutputs);
    float* y = a.y + t * a.y_stride + tile * kTileOutputs;
    multiply_panels<T, V>(panels, x, pairs, y, a.y_stride, outputs, k0 == 0, ahead);
  }
  if constexpr (V > 1)
    if (tile < end) multiply_tiles<T, V - 1>(a, panels, x, tile, end, t, k0, pairs, ahead);
}

template <int T = kTokens>
inline void multiply_tiles(int64_t tokens, const LinearF32Args& a, const Pair* panels,
                           const Pair* x, int64_t tile, int64_t end, int64_t t, int64_t k0,
                           int64_t pairs, Ahead& ahead) {
  if (tokens == T) {
    multiply_tiles<T, kTiles>(a, panels, x, tile, end, t, k0, pairs, ahead);
  } else if constexpr (T > 1) {
    multiply_tiles<T - 1>(tokens, a, panels, x, tile, end, t, k0, pairs, ahead);
  }
}

// Weights become BF16 once for all tokens, activations once for kPanels tiles.
template <class Source>
inline void multiply_rounded(const LinearF32Args& a) {
  alignas(64) Pair panels[kPanels * kPanel], x[kTokens * kPackStride];
  for (int64_t k0 = 0; k0 < a.w.cols; k0 += kChunk) {
    const int64_t left = a.w.cols - k0 < kChunk ? a.w.cols - k0 : kChunk;
    const int64_t pairs = (left + kUnitCols - 1) / kUnitCols * kUnitCols / 2;
    for (int64_t tile = a.tile_begin; tile < a.tile_end; tile += kPanels) {
      const int64_t end = a.tile_end - tile < kPanels ? a.tile_end : tile + kPanels;
      for (int64_t i = tile; i < end; ++i)
        expand(a, i, k0, left, panels + (i - tile) * kPanel, Source());
      for (int64_t t = 0, count = 0; t < a.tokens; t += count) {
        const int64_t rest = a.tokens - t;  // the last two blocks share evenly
        count = rest >= 2 * kTokens ? kTokens : rest > kTokens ? (rest + 1) / 2 : rest;
        const int64_t after = rest - count;
        pack(a.x + t * a.x_stride + k0, a.x_stride, count, left, x);
        Ahead ahead = ahead_of(a.x + (t + count) * a.x_stride + k0, a.x_stride,
                               after < kTokens ? after : kTokens, left);
        multiply_tiles(count, a, panels, x, tile, end, t, k0, pairs, ahead);
      }
    }
  }
}

}  // namespace

void linear_f32_avx512bf16(const LinearF32Args& a) {
  const auto multiply = [&](auto source) { multiply_rounded<decltype(source)>(a); };
  if (!a.rounded || !with_halves(a.w.layout, multiply)) linear_f32_avx512(a);
}

}  // namespace klens::cpu
