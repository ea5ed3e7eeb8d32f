// Built with AVX-512's flags and -mavx512bf16. See kernels/README.md for the one rule of such
// files.
#include "kernels/cpu/pairs_avx512bf16.h"
#include "kernels/cpu/scan/ssd_chunks_avx512.h"

namespace klens::cpu {

SsdScan ssd_scan_avx512, ssd_scan_avx512bf16;

namespace {

constexpr int64_t kPairs = kChunk / 2;  // of a chunk's tokens

// The pieces of args.work; ssd_scan_work() counts them.
struct Work {
  int64_t states;  // to a multiple of 16
  Pair* row;       // [kChunk][states / 2]: B or C of a group
  Pair* c;         // [states / 2][kChunk]: C of a group, transposed
  Pair* b;         // [states / 2][kChunk]: B likewise
  Pair* b_token;   // [kPairs][states]: B of a group, pairs of tokens
  float* cb;       // [kChunk][kChunk]: C B^T of a group, as far as tiles meet s <= t
  Pair* mix;       // [kChunk][kPairs]: cb times dt and decays from s to t, 0 where s > t
  Pair* x;         // [kPairs][32]: x of some channels
  Pair* end;       // [kPairs][32]: dt x decayed to the end of the chunk
  Pair* state;     // [states / 2][32]: some channels of a head's state before the chunk
};

inline Work pieces(const SsdScanArgs& a) {
  Work w;
  w.states = (a.states + 15) / 16 * 16;
  w.cb = a.work;
  w.row = reinterpret_cast<Pair*>(w.cb + kChunk * kChunk);
  w.c = w.row + kPairs * w.states;
  w.b = w.c + kPairs * w.states;
  w.b_token = w.b + kPairs * w.states;
  w.mix = w.b_token + kPairs * w.states;
  w.x = w.mix + kChunk * kPairs;
  w.end = w.x + kPairs * 32;
  w.state = w.end + kPairs * 32;
  return w;
}

// tile[r] += sum over i < count of rows[r * apart + i * step] . columns[i]; rows of columns are
// `stride` apart. Each element is one chain of products in the order of i, so the shape of tiles
// never shows in the bits.
template <int64_t apart, int V>
inline void multiply(const Pair* rows, int64_t step, const Pair* columns, int64_t stride,
                     int64_t count, Tile<V>& tile) {
  Tile<V> sums = tile;
  for (int64_t i = 0; i < count; ++i) {
    __m512i column[V];
    for (int v = 0; v < V; ++v) column[v] = _mm512_loadu_si512(columns + i * stride + 16 * v);
    for (int r = 0; r < kRows; ++r) {
      const __m512i row = each_pair(rows[r * apart + i * step]);
      for (int v = 0; v < V; ++v) sums.v[r][v] = multiply_add_pairs(row, column[v], sums.v[r][v]);
    }
  }
  tile = sums;
}

// Sixteen of a token's B or C, from state n on; zeros after the last of them and of the chunk.
inline __m512 load_states(const SsdScanArgs& a, const Chunk& chunk, const float* from, int64_t t,
                          int64_t n) {
  const int64_t lanes = t < chunk.tokens && n < a.states ? a.states - n : 0;
  return load(from + (t * a.bc_stride + n) * (lanes > 0), first_lanes(lanes));
}

// [states / 2][kChunk] of B or C.
inline void pack_states(const SsdScanArgs& a, const Chunk& chunk, const float* from, const Work& w,
                        Pair* to) {
  for (int64_t t = 0; t < kChunk; ++t)
    for (int64_t n = 0; n < w.states; n += 16)
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(w.row + (t * w.states + n) / 2),
                          (__m256i)_mm512_cvtneps_pbh(load_states(a, chunk, from, t, n)));
  for (int64_t t = 0; t < kChunk; t += 16)
    transpose16(w.row + t * w.states / 2, w.states / 2, 0xffff, w.states / 2, to + t, kChunk);
}

inline void pack_bc(const SsdScanArgs& a, const Chunk& chunk, const Work& w) {
  const int64_t at = chunk.begin * a.bc_stride + chunk.group * a.states;
  pack_states(a, chunk, a.b + at, w, w.b);
  pack_states(a, chunk, a.c + at, w, w.c);
  for (int64_t t = 0; t < kChunk; t += 2)
    for (int64_t n = 0; n < w.states; n += 16)
      store_columns(w.b_token + t / 2 * w.states + n, load_states(a, chunk, a.b + at, t, n),
                    load_states(a, chunk, a.b + at, t + 1, n));
}

inline void multiply_cb(const Chunk& chunk, const Work& w) {
  for (int64_t t = 0; t < chunk.tokens; t += kRows)
    for (int64_t s = 0; s < t + kRows; s += 16) {
      Tile<1> tile = {};
      multiply<1>(w.c + t, kChunk, w.b + s, kChunk, w.states / 2, tile);
      for (int64_t r = 0; r < kRows; ++r)
        _mm512_storeu_ps(w.cb + (t + r) * kChunk + s, tile.v[r][0]);
    }
}

inline void mix_decays(const Chunk& chunk, const Decays& d, const Work& w) {
  for (int64_t t = 0; t < chunk.tokens; ++t) {
    const float* cb = w.cb + t * kChunk;
    const __m512 first = mixed(d, t, 0, _mm512_loadu_ps(cb));
    const __m512 second = t < 16 ? _mm512_setzero_ps() : mixed(d, t, 16, _mm512_loadu_ps(cb + 16));
    store_row(w.mix + t * kPairs, first, second);
  }
}

template <int V>
inline void gather(const SsdScanArgs& a, const Chunk& chunk, const Cols& cols, const Decays& d,
                   const Work& w) {
  const int64_t at = cols.head * a.head_dim + cols.begin;
  for (int64_t t = 0; t < chunk.tokens; t += 2) {
    const float* x = a.x + (chunk.begin + t) * a.x_stride + at;
    const float* y = a.y + (chunk.begin + t) * a.y_stride + at;
    const bool both = t + 1 < chunk.tokens;
    const float* next = x + (both ? a.x_stride : 0);
    fetch_next(x);
    fetch_next(y);
    fetch_next(next);
    fetch_next(y + (both ? a.y_stride : 0));
    const __m512 even_scale = _mm512_set1_ps(d.dt[t] * d.to_end[t]);
    const __m512 odd_scale = _mm512_set1_ps(d.dt[t + 1] * d.to_end[t + 1]);
    for (int v = 0; v < V; ++v) {
      const __m512 even = load(x + 16 * v, cols.mask[v]);
      const __m512 odd = load(next + 16 * v, both ? cols.mask[v] : __mmask16{0});
      store_columns(w.x + t / 2 * 32 + 16 * v, even, odd);
      store_columns(w.end + t / 2 * 32 + 16 * v, _mm512_mul_ps(even_scale, even),
                    _mm512_mul_ps(odd_scale, odd));
    }
  }
  const float* state = a.state + cols.head * a.states * a.head_dim + cols.begin;
  for (int64_t n = 0; n + 1 < a.states; n += 2, state += 2 * a.head_dim)
    for (int v = 0; v < V; ++v)
      store_columns(w.state + n * 16 + 16 * v, load(state + 16 * v, cols.mask[v]),
                    load(state + a.head_dim + 16 * v, cols.mask[v]));
  if (a.states % 2 == 0) return;
  for (int v = 0; v < V; ++v)
    store_columns(w.state + (a.states - 1) * 16 + 16 * v, load(state + 16 * v, cols.mask[v]),
                  _mm512_setzero_ps());
}

// y = decay from the start * C state + mix * x + D x
template <int V>
inline void output(const SsdScanArgs& a, const Chunk& chunk, const Cols& cols, const Decays& d,
                   const Work& w) {
  const int64_t at = cols.head * a.head_dim + cols.begin;
  const float* x = a.x + chunk.begin * a.x_stride + at;
  float* y = a.y + chunk.begin * a.y_stride + at;
  const __m512 skip = _mm512_set1_ps(a.d[cols.head]);
  for (int64_t t = 0; t < chunk.tokens; t += kRows) {
    Tile<V> tile = {};
    multiply<1>(w.c + t, kChunk, w.state, 32, (a.states + 1) / 2, tile);
    scale_rows(tile, d.from_start + t);
    const int64_t count = least(kRows, chunk.tokens - t);
    multiply<kPairs>(w.mix + t * kPairs, 1, w.x, 32, (t + count + 1) / 2, tile);
    store_outputs(tile, skip, x + t * a.x_stride, a.x_stride, y + t * a.y_stride, a.y_stride, cols,
                  count);
  }
}

// state = decay over the chunk * state + B^T (dt x decayed to the end)
template <int V>
inline void advance(const SsdScanArgs& a, const Chunk& chunk, const Cols& cols, const Decays& d,
                    const Work& w) {
  advance_state<V>(a, cols, d.from_start[chunk.tokens - 1], [&](int64_t n, Tile<V>& tile) {
    multiply<1>(w.b_token + n, w.states, w.end, 32, (chunk.tokens + 1) / 2, tile);
  });
}

inline void scan_group(const SsdScanArgs& a, const Chunk& chunk, int64_t begin, int64_t end,
                       const Work& w) {
  pack_bc(a, chunk, w);
  multiply_cb(chunk, w);
  for (int64_t h = begin; h < end; ++h) {
    Decays d;
    find_decays(a, chunk, h, d);
    mix_decays(chunk, d, w);
    over_cols(a, h, [&]<int V>(const Cols& cols) {
      gather<V>(a, chunk, cols, d, w);
      output<V>(a, chunk, cols, d, w);
      advance<V>(a, chunk, cols, d, w);
    });
  }
}

// The state takes up what is pending.
inline void settle(SsdScanArgs a) {
  a.tokens = 0;
  ssd_scan_avx512(a);
}

}  // namespace

void ssd_scan_avx512bf16(const SsdScanArgs& args) {
  if (!args.rounded || args.tokens <= kFewTokens) return ssd_scan_avx512(args);
  on_full_state(args, [](const SsdScanArgs& a) {
    settle(a);
    const Work w = pieces(a);
    over_time<kChunk>(a, [&](int64_t t, int64_t tokens) {
      if (tokens <= kFewTokens) return recur(a, t, t + tokens);
      over_groups(a, [&](int64_t group, int64_t begin, int64_t end) {
        scan_group(a, {t, tokens, group}, begin, end, w);
      });
    });
  });
}

}  // namespace klens::cpu
