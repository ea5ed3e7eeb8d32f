// Built with -mavx512f -mavx512bw -mavx512dq -mavx512vl and AVX2's flags. See kernels/README.md for
// the one rule of such files.
#include "kernels/cpu/avx512_math.h"
#include "kernels/cpu/scan/ssd_scan.h"

namespace klens::cpu {

SsdScan ssd_scan_avx512;

namespace {

constexpr int64_t kChunk = 32;      // tokens
constexpr int64_t kFewTokens = 12;  // up to here the recurrence is faster
constexpr int64_t kRows = 8;        // of a tile: tokens or states

inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

// ---- The recurrence

// One token of 16 V channels, the last of them masked, state row after state row as they lie in
// memory.
template <int V>
inline void step(const SsdScanArgs& a, int64_t t, int64_t h, int64_t p, __mmask16 last) {
  const int64_t group = h / (a.heads / a.groups);
  const float* b = a.b + t * a.bc_stride + group * a.states;
  const float* c = a.c + t * a.bc_stride + group * a.states;
  const float* x = a.x + t * a.x_stride + h * a.head_dim + p;
  const float dt = a.dt[t * a.dt_stride + h];
  const __m512 decay = exp_negative16(_mm512_set1_ps(dt * a.a[h]));
  float* state = a.state + h * a.states * a.head_dim + p;
  __m512 input[V], sum[V];
  for (int v = 0; v < V; ++v) {
    const __m512 xv = load16(x + 16 * v, v + 1 < V ? 0xffff : last);
    input[v] = _mm512_mul_ps(_mm512_set1_ps(dt), xv);
    sum[v] = _mm512_mul_ps(_mm512_set1_ps(a.d[h]), xv);
  }
  for (int64_t n = 0; n < a.states; ++n, state += a.head_dim) {
    const __m512 bn = _mm512_set1_ps(b[n]), cn = _mm512_set1_ps(c[n]);
    for (int v = 0; v < V; ++v) {
      const __mmask16 mask = v + 1 < V ? 0xffff : last;
      const __m512 next =
          _mm512_fmadd_ps(decay, load16(state + 16 * v, mask), _mm512_mul_ps(bn, input[v]));
      store16(state + 16 * v, mask, next);
      sum[v] = _mm512_fmadd_ps(cn, next, sum[v]);
    }
  }
  float* y = a.y + t * a.y_stride + h * a.head_dim + p;
  for (int v = 0; v < V; ++v) store16(y + 16 * v, v + 1 < V ? 0xffff : last, sum[v]);
}

inline void recur(const SsdScanArgs& a, int64_t begin, int64_t end) {
  for (int64_t h = a.head_begin; h < a.head_end; ++h) {
    int64_t p = 0;
    for (; p + 64 <= a.head_dim; p += 64)
      for (int64_t t = begin; t < end; ++t) step<4>(a, t, h, p, 0xffff);
    for (; p < a.head_dim; p += 16)
      for (int64_t t = begin; t < end; ++t) step<1>(a, t, h, p, first_lanes16(a.head_dim - p));
  }
}

// ---- Chunks

// The pieces of args.work; ssd_scan_work() counts them.
struct Work {
  float* b;    // [states to a multiple of 16][kChunk]: B of a group, transposed
  float* cb;   // [kChunk][kChunk]: C B^T of a group, as far as tiles meet s <= t
  float* mix;  // [kChunk][kChunk]: cb times dt and decays from s to t, 0 where s > t
  float* x;    // [kChunk][32]: x of some channels, gathered from rows far apart
  float* end;  // [kChunk][32]: dt x decayed to the end of the chunk
};

inline Work pieces(const SsdScanArgs& a) {
  Work w;
  w.b = a.work;
  w.cb = w.b + (a.states + 15) / 16 * 16 * kChunk;
  w.mix = w.cb + kChunk * kChunk;
  w.x = w.mix + kChunk * kChunk;
  w.end = w.x + kChunk * 32;
  return w;
}

struct Chunk {
  int64_t begin, tokens, group;
};

// 16 V channels of a head, the last of them masked.
struct Cols {
  int64_t head, begin;
  __mmask16 mask[2];
};

constexpr Cols kAll = {0, 0, {0xffff, 0xffff}};

// Eight rows of a product, each 16 V wide.
template <int V>
struct Tile {
  __m512 v[kRows][V];
};

// tile[r] += sum over i < count of rows[r][i * step] * columns[i]; rows of columns are `stride`
// apart. Each element is one chain of fused multiply-adds in the order of i, so the shape of tiles
// never shows in the bits.
template <int V>
inline void multiply(const float* const (&rows)[kRows], int64_t step, const float* columns,
                     int64_t stride, const Cols& cols, int64_t count, Tile<V>& tile) {
  Tile<V> sums = tile;
  for (int64_t i = 0; i < count; ++i) {
    __m512 column[V];
    for (int v = 0; v < V; ++v) column[v] = load16(columns + i * stride + 16 * v, cols.mask[v]);
    for (int r = 0; r < kRows; ++r) {
      const __m512 row = _mm512_set1_ps(rows[r][i * step]);
      for (int v = 0; v < V; ++v) sums.v[r][v] = _mm512_fmadd_ps(row, column[v], sums.v[r][v]);
    }
  }
  tile = sums;
}

// Rows of a tile from `first` on; where fewer are left the last is repeated and its sums not used.
inline void tile_rows(const float* data, int64_t stride, int64_t first, int64_t count,
                      const float* (&rows)[kRows]) {
  for (int64_t r = 0; r < kRows; ++r) rows[r] = data + least(first + r, count - 1) * stride;
}

// What a head's decays are within a chunk. The logarithms add up in FP64: a difference of two large
// sums still has the digits of a small one, and is never above zero.
struct Decays {
  double log[kChunk];  // from before the chunk to after token t
  float dt[kChunk];
  float from_start[kChunk];
  float to_end[kChunk];
};

// e^(to - from) of 16 tokens.
inline __m512 exp_of_differences(__m512d from_low, __m512d from_high, __m512d to) {
  const __m256 low = _mm512_cvtpd_ps(_mm512_sub_pd(to, from_low));
  const __m256 high = _mm512_cvtpd_ps(_mm512_sub_pd(to, from_high));
  const __m512 log = _mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1);
  return exp_negative16(_mm512_min_ps(log, _mm512_setzero_ps()));
}

inline void find_decays(const SsdScanArgs& a, const Chunk& chunk, int64_t h, Decays& d) {
  double sum = 0;
  for (int64_t t = 0; t < kChunk; ++t) {
    d.dt[t] = t < chunk.tokens ? a.dt[(chunk.begin + t) * a.dt_stride + h] : 0.0f;
    d.log[t] = sum += double{d.dt[t]} * double{a.a[h]};
  }
  const __m512d zero = _mm512_setzero_pd();
  for (int64_t t = 0; t < kChunk; t += 16) {
    const __m512d low = _mm512_loadu_pd(d.log + t), high = _mm512_loadu_pd(d.log + t + 8);
    const __m512d minus_low = _mm512_sub_pd(zero, low), minus_high = _mm512_sub_pd(zero, high);
    _mm512_storeu_ps(d.from_start + t, exp_of_differences(minus_low, minus_high, zero));
    _mm512_storeu_ps(d.to_end + t, exp_of_differences(low, high, _mm512_set1_pd(sum)));
  }
}

inline void transpose_b(const SsdScanArgs& a, const Chunk& chunk, const Work& w) {
  const float* b = a.b + chunk.begin * a.bc_stride + chunk.group * a.states;
  const int32_t stride = static_cast<int32_t>(a.bc_stride);
  const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m512i at = _mm512_mullo_epi32(lane, _mm512_set1_epi32(stride));
  for (int64_t t = 0; t < kChunk; t += 16) {
    const __mmask16 mask = first_lanes16(chunk.tokens > t ? chunk.tokens - t : 0);
    for (int64_t n = 0; n < a.states; ++n)
      _mm512_storeu_ps(w.b + n * kChunk + t, _mm512_mask_i32gather_ps(_mm512_setzero_ps(), mask, at,
                                                                      b + t * a.bc_stride + n, 4));
  }
}

inline void multiply_cb(const SsdScanArgs& a, const Chunk& chunk, const Work& w) {
  const float* c = a.c + chunk.begin * a.bc_stride + chunk.group * a.states;
  for (int64_t t = 0; t < chunk.tokens; t += kRows) {
    const float* rows[kRows];
    tile_rows(c, a.bc_stride, t, chunk.tokens, rows);
    for (int64_t s = 0; s < t + kRows; s += 16) {
      Tile<1> tile = {};
      multiply(rows, 1, w.b + s, kChunk, kAll, a.states, tile);
      for (int64_t r = 0; r < kRows; ++r)
        _mm512_storeu_ps(w.cb + (t + r) * kChunk + s, tile.v[r][0]);
    }
  }
}

inline void mix_decays(const Chunk& chunk, const Decays& d, const Work& w) {
  for (int64_t s = 0; s < chunk.tokens; s += 16) {
    const __m512d low = _mm512_loadu_pd(d.log + s), high = _mm512_loadu_pd(d.log + s + 8);
    const __m512 dt = _mm512_loadu_ps(d.dt + s);
    for (int64_t t = s; t < chunk.tokens; ++t) {
      const __m512 decay = exp_of_differences(low, high, _mm512_set1_pd(d.log[t]));
      const __m512 cb = _mm512_mul_ps(_mm512_loadu_ps(w.cb + t * kChunk + s), dt);
      _mm512_storeu_ps(w.mix + t * kChunk + s,
                       _mm512_maskz_mul_ps(first_lanes16(t + 1 - s), cb, decay));
    }
  }
}

template <int V>
inline void gather(const SsdScanArgs& a, const Chunk& chunk, const Cols& cols, const Decays& d,
                   const Work& w) {
  const float* x = a.x + chunk.begin * a.x_stride + cols.head * a.head_dim + cols.begin;
  const float* y = a.y + chunk.begin * a.y_stride + cols.head * a.head_dim + cols.begin;
  for (int64_t t = 0; t < chunk.tokens; ++t) {
    const __m512 scale = _mm512_set1_ps(d.dt[t] * d.to_end[t]);
    // The next channels: rows lie in different pages, which no hardware prefetch crosses.
    _mm_prefetch(x + t * a.x_stride + 32, _MM_HINT_T1);
    _mm_prefetch(x + t * a.x_stride + 48, _MM_HINT_T1);
    _mm_prefetch(y + t * a.y_stride + 32, _MM_HINT_T1);
    _mm_prefetch(y + t * a.y_stride + 48, _MM_HINT_T1);
    for (int v = 0; v < V; ++v) {
      const __m512 xv = load16(x + t * a.x_stride + 16 * v, cols.mask[v]);
      _mm512_storeu_ps(w.x + (t * V + v) * 16, xv);
      _mm512_storeu_ps(w.end + (t * V + v) * 16, _mm512_mul_ps(scale, xv));
    }
  }
}

// y = decay from the start * C state + mix * x + D x
template <int V>
inline void output(const SsdScanArgs& a, const Chunk& chunk, const Cols& cols, const Decays& d,
                   const Work& w) {
  const int64_t at = cols.head * a.head_dim + cols.begin;
  const float* c = a.c + chunk.begin * a.bc_stride + chunk.group * a.states;
  const float* state = a.state + cols.head * a.states * a.head_dim + cols.begin;
  float* y = a.y + chunk.begin * a.y_stride + at;
  const __m512 skip = _mm512_set1_ps(a.d[cols.head]);
  for (int64_t t = 0; t < chunk.tokens; t += kRows) {
    const float* rows[kRows];
    tile_rows(c, a.bc_stride, t, chunk.tokens, rows);
    Tile<V> tile = {};
    multiply(rows, 1, state, a.head_dim, cols, a.states, tile);
    for (int64_t r = 0; r < kRows; ++r)
      for (int v = 0; v < V; ++v)
        tile.v[r][v] = _mm512_mul_ps(tile.v[r][v], _mm512_set1_ps(d.from_start[t + r]));
    const int64_t count = least(kRows, chunk.tokens - t);
    tile_rows(w.mix, kChunk, t, chunk.tokens, rows);
    multiply(rows, 1, w.x, 16 * V, kAll, t + count, tile);
    for (int64_t r = 0; r < count; ++r)
      for (int v = 0; v < V; ++v) {
        const __m512 xv = _mm512_loadu_ps(w.x + ((t + r) * V + v) * 16);
        store16(y + (t + r) * a.y_stride + 16 * v, cols.mask[v],
                _mm512_fmadd_ps(skip, xv, tile.v[r][v]));
      }
  }
}

// state = decay over the chunk * state + B^T (dt x decayed to the end)
template <int V>
inline void advance(const SsdScanArgs& a, const Chunk& chunk, const Cols& cols, const Decays& d,
                    const Work& w) {
  const __m512 decay = _mm512_set1_ps(d.from_start[chunk.tokens - 1]);
  const float* b = a.b + chunk.begin * a.bc_stride + chunk.group * a.states;
  float* state = a.state + cols.head * a.states * a.head_dim + cols.begin;
  for (int64_t n = 0; n < a.states; n += kRows) {
    const float* rows[kRows];
    tile_rows(b, 1, n, a.states, rows);
    const int64_t count = least(kRows, a.states - n);
    Tile<V> tile = {};
    for (int64_t r = 0; r < count; ++r)
      for (int v = 0; v < V; ++v)
        tile.v[r][v] =
            _mm512_mul_ps(decay, load16(state + (n + r) * a.head_dim + 16 * v, cols.mask[v]));
    multiply(rows, a.bc_stride, w.end, 16 * V, kAll, chunk.tokens, tile);
    for (int64_t r = 0; r < count; ++r)
      for (int v = 0; v < V; ++v)
        store16(state + (n + r) * a.head_dim + 16 * v, cols.mask[v], tile.v[r][v]);
  }
}

// The heads of a range that share a group share C B^T.
inline void scan_group(const SsdScanArgs& a, const Chunk& chunk, int64_t begin, int64_t end,
                       const Work& w) {
  transpose_b(a, chunk, w);
  multiply_cb(a, chunk, w);
  for (int64_t h = begin; h < end; ++h) {
    Decays d;
    find_decays(a, chunk, h, d);
    mix_decays(chunk, d, w);
    for (int64_t p = 0; p < a.head_dim; p += 32) {
      const int64_t left = a.head_dim - p;
      if (left > 16) {
        const Cols cols = {h, p, {0xffff, first_lanes16(left - 16)}};
        gather<2>(a, chunk, cols, d, w);
        output<2>(a, chunk, cols, d, w);
        advance<2>(a, chunk, cols, d, w);
      } else {
        const Cols cols = {h, p, {first_lanes16(left), 0}};
        gather<1>(a, chunk, cols, d, w);
        output<1>(a, chunk, cols, d, w);
        advance<1>(a, chunk, cols, d, w);
      }
    }
  }
}

}  // namespace

void ssd_scan_avx512(const SsdScanArgs& a) {
  const Work w = pieces(a);
  const int64_t group_heads = a.heads / a.groups;
  for (int64_t t = 0; t < a.tokens; t += kChunk) {
    const int64_t tokens = least(kChunk, a.tokens - t);
    if (tokens <= kFewTokens) return recur(a, t, t + tokens);
    for (int64_t h = a.head_begin; h < a.head_end;) {
      const int64_t group = h / group_heads, end = least(a.head_end, (group + 1) * group_heads);
      scan_group(a, {t, tokens, group}, h, end, w);
      h = end;
    }
  }
}

}  // namespace klens::cpu
