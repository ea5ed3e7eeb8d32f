// Built with -mavx2 -mfma -mf16c. See kernels/README.md for the one rule of such files.
#include "kernels/cpu/avx2_math.h"
#include "kernels/cpu/linear/linear_i8.h"

namespace klens::cpu {

LinearI8 linear_i8_avx2;

namespace {

constexpr int kTokens = 4;  // side by side, sharing each unpacked tile

// int32 dot products of T tokens x 8 H outputs: H = 2 is a whole tile row. Several tokens take one
// half of the tiles after the other (H = 1), so that all their sums stay in registers; one token
// takes both halves, so that the tiles stream by once.
template <int T, int H>
struct Dots {
  __m256i v[T][H];
};

// Four activations, repeated for eight outputs. A copy into an integer becomes one VPBROADCASTD
// from memory; the load intrinsics for 32 bits do not, in GCC 12.
inline __m256i broadcast4(const int8_t* x) {
  int32_t four;
  __builtin_memcpy(&four, x, 4);
  return _mm256_set1_epi32(four);
}

// Adds the pairs of 16-bit sums to a 32-bit accumulator.
inline __m256i widen_add(__m256i acc, __m256i pairs) {
  return _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

// Computes v here and now. GCC otherwise regroups the integer sums of several tiles into a tree,
// whose leaves do not fit the registers.
inline void settle(__m256i& v) { __asm__("" : "+x"(v)); }

inline __m256i load32(const uint8_t* p) {
  return _mm256_load_si256(reinterpret_cast<const __m256i*>(p));
}

// INT8: w x = |w| (sign(w) x), an unsigned by signed product as VPMADDUBSW wants. Both factors are
// at most 127, so a pair's sum, at most 32258, does not saturate.
template <int T, int H>
inline void dot_i8(const uint8_t* tile, const int8_t* x, int64_t x_stride, int64_t cols,
                   Dots<T, H>& dots) {
  for (int64_t k = 0; k < cols; k += 4, tile += kTileBytes) {
    for (int h = 0; h < H; ++h) {
      const __m256i w = load32(tile + 32 * h), magnitude = _mm256_abs_epi8(w);
      for (int t = 0; t < T; ++t) {
        const __m256i signed_x = _mm256_sign_epi8(broadcast4(x + t * x_stride + k), w);
        dots.v[t][h] = widen_add(dots.v[t][h], _mm256_maddubs_epi16(magnitude, signed_x));
      }
    }
  }
}

// One INT4 tile: u in 0..15 unsigned by x signed, a pair's sum at most 2 * 15 * 127 = 3810.
template <int T, int H>
inline void dot_i4_tile(const uint8_t* tile, const int8_t* x, int64_t x_stride, Dots<T, H>& pairs) {
  const __m256i nibble = _mm256_set1_epi8(15);
  for (int h = 0; h < H; ++h) {
    const __m256i w = load32(tile + 32 * h), low = _mm256_and_si256(w, nibble);
    const __m256i high = _mm256_and_si256(_mm256_srli_epi16(w, 4), nibble);
    for (int t = 0; t < T; ++t) {
      const int8_t* xt = x + t * x_stride;
      __m256i& sum = pairs.v[t][h];
      sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(low, broadcast4(xt)));
      settle(sum);
      sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(high, broadcast4(xt + 4)));
      settle(sum);
    }
  }
}

// INT4: four tiles' sums, at most 8 * 3810, fit 16 bits before they are widened.
template <int T, int H>
inline void dot_i4(const uint8_t* tile, const int8_t* x, int64_t x_stride, int64_t cols,
                   Dots<T, H>& dots) {
  int64_t tiles = (cols + 7) / 8;
  while (tiles > 0) {
    Dots<T, H> pairs;
    for (int t = 0; t < T; ++t)
      for (int h = 0; h < H; ++h) pairs.v[t][h] = _mm256_setzero_si256();
    const int64_t step = tiles >= 4 ? 4 : 1;
    if (step == 4) {
      for (int i = 0; i < 4; ++i)
        dot_i4_tile<T, H>(tile + i * kTileBytes, x + i * 8, x_stride, pairs);
    } else {
      dot_i4_tile<T, H>(tile, x, x_stride, pairs);
    }
    for (int t = 0; t < T; ++t)
      for (int h = 0; h < H; ++h) dots.v[t][h] = widen_add(dots.v[t][h], pairs.v[t][h]);
    tile += step * kTileBytes;
    x += step * 8;
    tiles -= step;
  }
}

// The 16 outputs of tile row n for T tokens from t0. Per group, in order of k: the exact integer
// dot product, then one FP32 step acc = dot * (w_scale * x_scale) + acc.
template <int T, bool Int4>
inline void tile_row(const LinearI8Args& a, int64_t n, int64_t t0) {
  constexpr int H = T == 1 ? 2 : 1;
  constexpr int64_t cols_per_tile = Int4 ? 8 : 4;
  const int64_t x_groups = (a.w.cols + a.x_group - 1) / a.x_group;
  const int64_t w_groups = (a.w.cols + a.w.group - 1) / a.w.group;
  const int64_t col_tiles = (a.w.cols + cols_per_tile - 1) / cols_per_tile;
  const auto* tiles = static_cast<const uint8_t*>(a.w.data) + n * col_tiles * kTileBytes;
  const uint16_t* scales = a.w.scale + n * w_groups * kTileOutputs;
  const int8_t* x = a.x + t0 * a.x_stride;
  const float* x_scale = a.x_scale + t0 * x_groups;
  const int32_t* x_sum = a.x_sum + t0 * x_groups;

  __m256 sums[T][2];
  for (int t = 0; t < T; ++t) sums[t][0] = sums[t][1] = _mm256_setzero_ps();
  for (int64_t g = 0; g < x_groups; ++g) {
    const int64_t begin = g * a.x_group, left = a.w.cols - begin;
    const int64_t cols = left < a.x_group ? left : a.x_group;
    const uint8_t* tile = tiles + begin / cols_per_tile * kTileBytes;
    const uint16_t* scale = scales + (w_groups == 1 ? 0 : g) * kTileOutputs;
    for (int i = 0; i < 2; i += H) {
      Dots<T, H> dots;
      for (int t = 0; t < T; ++t) {
        // INT4 weights are u - 8: start at -8 sum(x). Of activations that have overflowed to
        // infinity the sum means nothing and may be any integer; unsigned, it wraps.
        const uint32_t sum = Int4 ? static_cast<uint32_t>(x_sum[t * x_groups + g]) : 0;
        for (int h = 0; h < H; ++h)
          dots.v[t][h] = _mm256_set1_epi32(static_cast<int32_t>(sum * -8u));
      }
      if constexpr (Int4) {
        dot_i4<T, H>(tile + 32 * i, x + begin, a.x_stride, cols, dots);
      } else {
        dot_i8<T, H>(tile + 32 * i, x + begin, a.x_stride, cols, dots);
      }
      for (int h = 0; h < H; ++h) {
        const auto* at = reinterpret_cast<const __m128i*>(scale + 8 * (i + h));
        const __m256 w_scale = _mm256_cvtph_ps(_mm_loadu_si128(at));
        for (int t = 0; t < T; ++t) {
          const __m256 both = _mm256_mul_ps(w_scale, _mm256_set1_ps(x_scale[t * x_groups + g]));
          __m256& sum = sums[t][i + h];
          sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dots.v[t][h]), both, sum);
        }
      }
    }
  }
  const int64_t outputs = a.w.rows - n * kTileOutputs;
  for (int t = 0; t < T; ++t) {
    float* y = a.y + (t0 + t) * a.y_stride + n * kTileOutputs;
    if (outputs >= kTileOutputs) {
      _mm256_storeu_ps(y, sums[t][0]);
      _mm256_storeu_ps(y + 8, sums[t][1]);
    } else {
      _mm256_maskstore_ps(y, lanes_left(outputs), sums[t][0]);
      if (outputs > 8) _mm256_maskstore_ps(y + 8, first_lanes(outputs - 8), sums[t][1]);
    }
  }
}

template <bool Int4>
inline void tile_rows(const LinearI8Args& a) {
  for (int64_t n = a.tile_begin; n < a.tile_end; ++n) {
    int64_t t = 0;
    for (; t + kTokens <= a.tokens; t += kTokens) tile_row<kTokens, Int4>(a, n, t);
    if (a.tokens - t == 3) tile_row<3, Int4>(a, n, t);
    if (a.tokens - t == 2) tile_row<2, Int4>(a, n, t);
    if (a.tokens - t == 1) tile_row<1, Int4>(a, n, t);
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
