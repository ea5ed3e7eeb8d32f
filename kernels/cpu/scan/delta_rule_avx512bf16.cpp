// Built with AVX-512's flags and -mavx512bf16. See kernels/README.md for the one rule of such
// files.
#include "kernels/cpu/pairs_avx512bf16.h"
// This one computes with what the one before defines.
#include "kernels/cpu/scan/delta_rule_simd.h"

namespace klens::cpu {

DeltaRule delta_rule_avx512, delta_rule_avx512bf16;

namespace {

constexpr int64_t kPairs = kDeltaChunk / 2;  // of a chunk's tokens
constexpr int64_t kFewTokens = 12;           // up to here FP32 is faster

// What is multiplied, in the caller's memory behind Work. The triangular system stays FP32.
struct Rounded {
  int64_t keys;        // pairs of a key's channels
  Pair *k, *q;         // [kDeltaChunk][keys]
  Pair* kt;            // [keys][kDeltaChunk]
  Pair* by_token;      // [kPairs][2 keys]: k, pairs of tokens
  Pair* seen;          // [kDeltaChunk][kPairs]
  Pair *delta, *late;  // [kPairs][kStrip]
  Pair* state;         // [keys][kStrip]: a tile of columns before the chunk
};

inline Rounded rounded_of(const DeltaRuleArgs& a, const Work& w) {
  const int64_t values = (a.v_dim + kStrip - 1) / kStrip * kStrip;
  Rounded r;
  r.keys = w.keys / 2;
  r.k = reinterpret_cast<Pair*>(w.state + w.keys * values);
  r.q = r.k + kDeltaChunk * r.keys;
  r.kt = r.q + kDeltaChunk * r.keys;
  r.by_token = r.kt + kDeltaChunk * r.keys;
  r.seen = r.by_token + kPairs * w.keys;
  r.delta = r.seen + kDeltaChunk * kPairs;
  r.late = r.delta + kPairs * kStrip;
  r.state = r.late + kPairs * kStrip;
  return r;
}

// tile[r] += sum over i < count of rows[r * apart + i * step] . columns[i]; rows of columns are
// `stride` apart. Each element is one chain of products in the order of i.
inline void multiply(const Pair* rows, int64_t apart, int64_t step, const Pair* columns,
                     int64_t stride, int64_t count, Tile<kRows, kVecs>& tile) {
  Tile<kRows, kVecs> sums = tile;
  for (int64_t i = 0; i < count; ++i) {
    __m512i column[kVecs];
    for (int v = 0; v < kVecs; ++v) column[v] = _mm512_loadu_si512(columns + i * stride + 16 * v);
    for (int r = 0; r < kRows; ++r) {
      const __m512i row = each_pair(rows[r * apart + i * step]);
      for (int v = 0; v < kVecs; ++v)
        sums.v[r][v] = multiply_add_pairs(row, column[v], sums.v[r][v]);
    }
  }
  tile = sums;
}

// Rows of `width` floats to pairs of neighbours, or zeros.
inline void pack_rows(const float* from, int64_t rows, int64_t width, Pair* to) {
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t n = 0; n < width; n += 16)
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + (i * width + n) / 2),
                          (__m256i)_mm512_cvtneps_pbh(load(from + i * width + n)));
}

// k in its three forms, q: zeros behind the `padded` tokens as far as tiles reach.
inline void pack_keys(const Work& w, const Rounded& r, int64_t padded) {
  pack_rows(w.k, padded, w.keys, r.k);
  pack_rows(w.q, padded, w.keys, r.q);
  for (int64_t i = 0; i < kDeltaChunk; i += 16)
    for (int64_t n = 0; n < r.keys; n += 16) {
      const int64_t left = r.keys - n;
      Vec block[16];
      for (int t = 0; t < 16; ++t) {
        const Pair* row = r.k + (i + t) * r.keys + n;
        block[t] = i + t < padded ? load_left(reinterpret_cast<const float*>(row), left) : each(0);
      }
      transpose(block);
      for (int64_t t = 0; t < 16 && t < left; ++t)
        store(reinterpret_cast<float*>(r.kt + (n + t) * kDeltaChunk + i), block[t]);
    }
  for (int64_t i = 0; i < padded; i += 2)
    for (int64_t n = 0; n < w.keys; n += 16)
      store_columns(r.by_token + i / 2 * w.keys + n, load(w.k + i * w.keys + n),
                    load(w.k + (i + 1) * w.keys + n));
}

// mix in FP32, seen in pairs.
inline void rounded_triangles(const Work& w, const Rounded& r, int64_t padded) {
  for (int64_t i = 0; i < padded; i += kRows) {
    for (int which = 0; which < 2; ++which) {
      const Pair* rows = (which == 0 ? r.k : r.q) + i * r.keys;
      float* to = (which == 0 ? w.mix : w.seen) + i * kDeltaChunk;
      for (int64_t j = 0; j < kDeltaChunk; j += kTileCols) {
        Tile<kRows, kVecs> tile = zeros();
        if (j < i + kRows) multiply(rows, r.keys, 1, r.kt + j, kDeltaChunk, r.keys, tile);
        for (int t = 0; t < kRows; ++t)
          for (int v = 0; v < kVecs; ++v)
            store(to + t * kDeltaChunk + j + kLanes * v, tile.v[t][v]);
      }
    }
    decay_rows(w, i);
    pack_rows(w.seen + i * kDeltaChunk, kRows, kDeltaChunk, r.seen + i * kPairs);
  }
}

// Rows of a strip, pairs of rows times `by`.
inline void pack_strip(const float* from, int64_t rows, const float* by, Pair* to) {
  for (int64_t i = 0; i < rows; i += 2)
    for (int64_t c = 0; c < kTileCols; c += 16) {
      const Vec even = load(from + i * kStrip + c), odd = load(from + (i + 1) * kStrip + c);
      store_columns(to + i / 2 * kStrip + c, by == nullptr ? even : times(each(by[i]), even),
                    by == nullptr ? odd : times(each(by[i + 1]), odd));
    }
}

inline void pack_state(const float* state, int64_t stride, int64_t keys, Pair* to) {
  for (int64_t n = 0; n < keys; n += 2)
    for (int64_t c = 0; c < kTileCols; c += 16)
      store_columns(to + n / 2 * kStrip + c, load(state + n * stride + c),
                    load(state + (n + 1) * stride + c));
}

// The state of a tile of columns at the chunk's end.
inline void rounded_carry(const Work& w, const Rounded& r, float* state, int64_t stride,
                          int64_t padded) {
  pack_strip(w.delta, padded, w.left, r.late);
  const Vec decay = each(w.grow[kDeltaChunk - 1]);
  for (int64_t n = 0; n < w.keys; n += kRows) {
    Tile<kRows, kVecs> tile;
    for (int t = 0; t < kRows; ++t)
      for (int c = 0; c < kVecs; ++c)
        tile.v[t][c] = times(decay, load(state + (n + t) * stride + kLanes * c));
    multiply(r.by_token + n, 1, w.keys, r.late, kStrip, padded / 2, tile);
    for (int t = 0; t < kRows; ++t)
      for (int c = 0; c < kVecs; ++c) store(state + (n + t) * stride + kLanes * c, tile.v[t][c]);
  }
}

inline void rounded_chunk(const DeltaRuleArgs& a, const Work& w, float* state, int64_t stride,
                          int64_t first, int64_t tokens, int64_t h) {
  if (tokens <= kFewTokens) return chunk(a, w, state, stride, first, tokens, h);
  const Rounded r = rounded_of(a, w);
  const int64_t padded = (tokens + kRows - 1) / kRows * kRows;
  gather(a, w, first, tokens, padded, h);
  pack_keys(w, r, padded);
  rounded_triangles(w, r, padded);
  for (int64_t p = 0; p < a.v_dim; p += kTileCols) {
    const float* v = a.v + first * a.qkv_stride + h * a.v_dim + p;
    float* y = a.y + first * a.y_stride + h * a.v_dim + p;
    pack_state(state + p, stride, w.keys, r.state);
    for (int64_t i = 0; i < padded; i += kRows) {
      Tile<kRows, kVecs> told = zeros(), asked = zeros();
      multiply(r.k + i * r.keys, r.keys, 1, r.state, kStrip, r.keys, told);
      solve(a, w, v, tokens, a.v_dim - p, i, told, w.delta);
      pack_strip(w.delta + i * kStrip, kRows, nullptr, r.delta + i / 2 * kStrip);
      multiply(r.q + i * r.keys, r.keys, 1, r.state, kStrip, r.keys, asked);
      decay(w, i, asked);
      multiply(r.seen + i * kPairs, kPairs, 1, r.delta, kStrip, (i + kRows) / 2, asked);
      answer(a, asked, tokens, a.v_dim - p, i, y);
    }
    rounded_carry(w, r, state + p, stride, padded);
  }
}

}  // namespace

void delta_rule_avx512bf16(const DeltaRuleArgs& a) {
  if (!a.rounded || a.by_channel || a.tokens == 1) return delta_rule_avx512(a);
  const Work w = work_of(a);
  for (int64_t h = a.head_begin; h < a.head_end; ++h)
    scan_head(a, w, h,
              [&](const Work& work, float* state, int64_t stride, int64_t first, int64_t tokens,
                  int64_t head) { rounded_chunk(a, work, state, stride, first, tokens, head); });
}

}  // namespace klens::cpu
