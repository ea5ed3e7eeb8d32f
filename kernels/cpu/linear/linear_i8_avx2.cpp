// Built with -mavx2 -mfma -mf16c. See kernels/README.md for the one rule of such files.
#include "kernels/cpu/avx2_math.h"
#include "kernels/cpu/linear/linear_i8.h"

namespace klens::cpu {

LinearI8 linear_i8_avx2;

namespace {

constexpr int kMaxTokens = 4;  // side by side, sharing each unpacked tile

// A tile row's 16 outputs in two registers: int32 dot products or FP32 sums, per token.
template <int T>
struct Dots {
  __m256i v[T][2];
};
template <int T>
struct Sums {
  __m256 v[T][2];
};

inline __m256i load32(const uint8_t* p) {
  return _mm256_load_si256(reinterpret_cast<const __m256i*>(p));
}

// Four activations, repeated for eight outputs.
inline __m256i broadcast4(const int8_t* x) { return _mm256_broadcastd_epi32(_mm_loadu_si32(x)); }

// Adds the pairs of 16-bit sums to a 32-bit accumulator.
inline __m256i widen_add(__m256i acc, __m256i pairs) {
  return _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

// INT8: w x = |w| (sign(w) x), an unsigned by signed product as VPMADDUBSW wants. Both factors are
// at most 127, so a pair's sum, at most 32258, does not saturate.
template <int T>
inline void dot_i8(const uint8_t* tile, const int8_t* x, int64_t x_stride, int64_t cols,
                   Dots<T>& dots) {
  for (int64_t k = 0; k < cols; k += 4, tile += kTileBytes) {
    const __m256i w0 = load32(tile), w1 = load32(tile + 32);
    const __m256i a0 = _mm256_abs_epi8(w0), a1 = _mm256_abs_epi8(w1);
    for (int t = 0; t < T; ++t) {
      const __m256i xt = broadcast4(x + t * x_stride + k);
      dots.v[t][0] = widen_add(dots.v[t][0], _mm256_maddubs_epi16(a0, _mm256_sign_epi8(xt, w0)));
      dots.v[t][1] = widen_add(dots.v[t][1], _mm256_maddubs_epi16(a1, _mm256_sign_epi8(xt, w1)));
    }
  }
}

// One INT4 tile: u in 0..15 unsigned by x signed, a pair's sum at most 2 * 15 * 127 = 3810.
template <int T>
inline void dot_i4_tile(const uint8_t* tile, const int8_t* x, int64_t x_stride,
                        __m256i (&pairs)[T][2]) {
  const __m256i nibble = _mm256_set1_epi8(15);
  const __m256i w0 = load32(tile), w1 = load32(tile + 32);
  const __m256i low0 = _mm256_and_si256(w0, nibble), low1 = _mm256_and_si256(w1, nibble);
  const __m256i high0 = _mm256_and_si256(_mm256_srli_epi16(w0, 4), nibble);
  const __m256i high1 = _mm256_and_si256(_mm256_srli_epi16(w1, 4), nibble);
  for (int t = 0; t < T; ++t) {
    const __m256i xl = broadcast4(x + t * x_stride), xh = broadcast4(x + t * x_stride + 4);
    pairs[t][0] = _mm256_add_epi16(pairs[t][0], _mm256_maddubs_epi16(low0, xl));
    pairs[t][1] = _mm256_add_epi16(pairs[t][1], _mm256_maddubs_epi16(low1, xl));
    pairs[t][0] = _mm256_add_epi16(pairs[t][0], _mm256_maddubs_epi16(high0, xh));
    pairs[t][1] = _mm256_add_epi16(pairs[t][1], _mm256_maddubs_epi16(high1, xh));
  }
}

// INT4: four tiles' sums, at most 8 * 3810, fit 16 bits before they are widened.
template <int T>
inline void dot_i4(const uint8_t* tile, const int8_t* x, int64_t x_stride, int64_t cols,
                   Dots<T>& dots) {
  int64_t tiles = (cols + 7) / 8;
  while (tiles > 0) {
    __m256i pairs[T][2];
    for (int t = 0; t < T; ++t) pairs[t][0] = pairs[t][1] = _mm256_setzero_si256();
    if (tiles >= 4) {
      for (int i = 0; i < 4; ++i) dot_i4_tile<T>(tile + i * kTileBytes, x + i * 8, x_stride, pairs);
    } else {
      for (int i = 0; i < tiles; ++i)
        dot_i4_tile<T>(tile + i * kTileBytes, x + i * 8, x_stride, pairs);
    }
    for (int t = 0; t < T; ++t) {
      dots.v[t][0] = widen_add(dots.v[t][0], pairs[t][0]);
      dots.v[t][1] = widen_add(dots.v[t][1], pairs[t][1]);
    }
    tile += 4 * kTileBytes;
    x += 32;
    tiles -= 4;
  }
}

// The 16 outputs of tile row n for T tokens from t0. Per group, in order of k: the exact integer
// dot product, then one FP32 step acc = dot * (w_scale * x_scale) + acc.
template <int T, bool Int4>
inline void tile_row(const LinearI8Args& a, int64_t n, int64_t t0) {
  const int64_t cols_per_tile = Int4 ? 8 : 4;
  const int64_t x_groups = (a.w.cols + a.x_group - 1) / a.x_group;
  const int64_t w_groups = (a.w.cols + a.w.group - 1) / a.w.group;
  const int64_t col_tiles = (a.w.cols + cols_per_tile - 1) / cols_per_tile;
  const auto* tiles = static_cast<const uint8_t*>(a.w.data) + n * col_tiles * kTileBytes;
  const uint16_t* scales = a.w.scale + n * w_groups * kTileOutputs;
  const int8_t* x = a.x + t0 * a.x_stride;
  const float* x_scale = a.x_scale + t0 * x_groups;
  const int32_t* x_sum = a.x_sum + t0 * x_groups;

  Sums<T> sums;
  for (int t = 0; t < T; ++t) sums.v[t][0] = sums.v[t][1] = _mm256_setzero_ps();
  for (int64_t g = 0; g < x_groups; ++g) {
    const int64_t begin = g * a.x_group, left = a.w.cols - begin;
    const int64_t cols = left < a.x_group ? left : a.x_group;
    const uint8_t* tile = tiles + begin / cols_per_tile * kTileBytes;
    Dots<T> dots;
    for (int t = 0; t < T; ++t) {
      // INT4 weights are u - 8: start at -8 sum(x).
      dots.v[t][0] = dots.v[t][1] = _mm256_set1_epi32(Int4 ? -8 * x_sum[t * x_groups + g] : 0);
    }
    if (Int4) {
      dot_i4<T>(tile, x + begin, a.x_stride, cols, dots);
    } else {
      dot_i8<T>(tile, x + begin, a.x_stride, cols, dots);
    }
    const uint16_t* scale = scales + (w_groups == 1 ? 0 : g) * kTileOutputs;
    for (int i = 0; i < 2; ++i) {
      const __m256 ws =
          _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(scale + 8 * i)));
      for (int t = 0; t < T; ++t) {
        const __m256 both = _mm256_mul_ps(ws, _mm256_set1_ps(x_scale[t * x_groups + g]));
        sums.v[t][i] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dots.v[t][i]), both, sums.v[t][i]);
      }
    }
  }
  const int64_t outputs = a.w.rows - n * kTileOutputs;
  for (int t = 0; t < T; ++t) {
    float* y = a.y + (t0 + t) * a.y_stride + n * kTileOutputs;
    if (outputs >= kTileOutputs) {
      _mm256_storeu_ps(y, sums.v[t][0]);
      _mm256_storeu_ps(y + 8, sums.v[t][1]);
    } else {
      _mm256_maskstore_ps(y, lanes_left(outputs), sums.v[t][0]);
      if (outputs > 8) _mm256_maskstore_ps(y + 8, first_lanes(outputs - 8), sums.v[t][1]);
    }
  }
}

template <bool Int4>
inline void tile_rows(const LinearI8Args& a) {
  for (int64_t n = a.tile_begin; n < a.tile_end; ++n) {
    int64_t t = 0;
    for (; t + kMaxTokens <= a.tokens; t += kMaxTokens) tile_row<kMaxTokens, Int4>(a, n, t);
    switch (a.tokens - t) {
      case 3:
        tile_row<3, Int4>(a, n, t);
        break;
      case 2:
        tile_row<2, Int4>(a, n, t);
        break;
      case 1:
        tile_row<1, Int4>(a, n, t);
        break;
      default:
        break;
    }
  }
}

}  // namespace

void linear_i8_avx2(const LinearI8Args& a) {
  if (a.w.layout == Layout::kTilesI4) {
    tile_rows<true>(a);
  } else {
    tile_rows<false>(a);
  }
}

}  // namespace klens::cpu
