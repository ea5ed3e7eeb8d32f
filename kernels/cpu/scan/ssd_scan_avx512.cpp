// Built with -mavx512f -mavx512bw -mavx512dq -mavx512vl and AVX2's flags. See kernels/README.md for
// the one rule of such files.
#include "kernels/cpu/scan/ssd_chunks_avx512.h"

namespace klens::cpu {

SsdScan ssd_scan_avx512;

namespace {

// ---- Chunks

// The pieces of args.work; ssd_scan_work() counts them.
struct Work {
  float* b;    // [states to a multiple of 16][kChunk]: B of a group, transposed
  float* c;    // [states][kChunk]: C of a group, transposed
  float* cb;   // [kChunk][kChunk]: C B^T of a group, as far as tiles meet s <= t
  float* mix;  // [kChunk][kChunk]: cb times dt and decays from s to t, 0 where s > t
  float* x;    // [kChunk][32]: x of some channels, gathered from rows far apart
  float* end;  // [kChunk][32]: dt x decayed to the end of the chunk
};

inline Work pieces(const SsdScanArgs& a) {
  Work w;
  w.b = a.work;
  w.c = w.b + (a.states + 15) / 16 * 16 * kChunk;
  w.cb = w.c + a.states * kChunk;
  w.mix = w.cb + kChunk * kChunk;
  w.x = w.mix + kChunk * kChunk;
  w.end = w.x + kChunk * 32;
  return w;
}

constexpr Cols kAll = {0, 0, {0xffff, 0xffff}};

// tile[r] += sum over i < count of rows[r * apart + i * step] * columns[i]; rows of columns are
// `stride` apart. Each element is one chain of fused multiply-adds in the order of i, so the shape
// of tiles never shows in the bits.
template <int V, int64_t apart>
inline void multiply(const float* rows, int64_t step, const float* columns, int64_t stride,
                     const Cols& cols, int64_t count, Tile<V>& tile) {
  Tile<V> sums = tile;
  for (int64_t i = 0; i < count; ++i) {
    __m512 column[V];
    for (int v = 0; v < V; ++v) column[v] = load(columns + i * stride + 16 * v, cols.mask[v]);
    for (int r = 0; r < kRows; ++r) {
      const __m512 row = _mm512_set1_ps(rows[r * apart + i * step]);
      for (int v = 0; v < V; ++v) sums.v[r][v] = _mm512_fmadd_ps(row, column[v], sums.v[r][v]);
    }
  }
  tile = sums;
}

inline void transpose_bc(const SsdScanArgs& a, const Chunk& chunk, const Work& w) {
  const int64_t at = chunk.begin * a.bc_stride + chunk.group * a.states;
  for (int64_t t = 0; t < kChunk; t += 16) {
    const __mmask16 mask = first_lanes(chunk.tokens > t ? chunk.tokens - t : 0);
    transpose16(a.b + at + t * a.bc_stride, a.bc_stride, mask, a.states, w.b + t, kChunk);
    transpose16(a.c + at + t * a.bc_stride, a.bc_stride, mask, a.states, w.c + t, kChunk);
  }
}

inline void multiply_cb(const SsdScanArgs& a, const Chunk& chunk, const Work& w) {
  for (int64_t t = 0; t < chunk.tokens; t += kRows)
    for (int64_t s = 0; s < t + kRows; s += 16) {
      Tile<1> tile = {};
      multiply<1, 1>(w.c + t, kChunk, w.b + s, kChunk, kAll, a.states, tile);
      for (int64_t r = 0; r < kRows; ++r)
        _mm512_storeu_ps(w.cb + (t + r) * kChunk + s, tile.v[r][0]);
    }
}

inline void mix_decays(const Chunk& chunk, const Decays& d, const Work& w) {
  for (int64_t s = 0; s < chunk.tokens; s += 16)
    for (int64_t t = s; t < chunk.tokens; ++t)
      _mm512_storeu_ps(w.mix + t * kChunk + s,
                       mixed(d, t, s, _mm512_loadu_ps(w.cb + t * kChunk + s)));
}

template <int V>
inline void gather(const SsdScanArgs& a, const Chunk& chunk, const Cols& cols, const Decays& d,
                   const Work& w) {
  const float* x = a.x + chunk.begin * a.x_stride + cols.head * a.head_dim + cols.begin;
  const float* y = a.y + chunk.begin * a.y_stride + cols.head * a.head_dim + cols.begin;
  for (int64_t t = 0; t < chunk.tokens; ++t) {
    const __m512 scale = _mm512_set1_ps(d.dt[t] * d.to_end[t]);
    fetch_next(x + t * a.x_stride);
    fetch_next(y + t * a.y_stride);
    for (int v = 0; v < V; ++v) {
      const __m512 xv = load(x + t * a.x_stride + 16 * v, cols.mask[v]);
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
  const float* state = a.state + cols.head * a.states * a.head_dim + cols.begin;
  float* y = a.y + chunk.begin * a.y_stride + at;
  const __m512 skip = _mm512_set1_ps(a.d[cols.head]);
  for (int64_t t = 0; t < chunk.tokens; t += kRows) {
    Tile<V> tile = {};
    multiply<V, 1>(w.c + t, kChunk, state, a.head_dim, cols, a.states, tile);
    scale_rows(tile, d.from_start + t);
    const int64_t count = least(kRows, chunk.tokens - t);
    multiply<V, kChunk>(w.mix + t * kChunk, 1, w.x, 16 * V, kAll, t + count, tile);
    store_outputs(tile, skip, w.x + t * 16 * V, 16 * V, y + t * a.y_stride, a.y_stride, cols,
                  count);
  }
}

// state = decay over the chunk * state + B^T (dt x decayed to the end)
template <int V>
inline void advance(const SsdScanArgs& a, const Chunk& chunk, const Cols& cols, const Decays& d,
                    const Work& w) {
  advance_state<V>(a, cols, d.from_start[chunk.tokens - 1], [&](int64_t n, Tile<V>& tile) {
    multiply<V, kChunk>(w.b + n * kChunk, 1, w.end, 16 * V, kAll, chunk.tokens, tile);
  });
}

inline void scan_group(const SsdScanArgs& a, const Chunk& chunk, int64_t begin, int64_t end,
                       const Work& w) {
  transpose_bc(a, chunk, w);
  multiply_cb(a, chunk, w);
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

// ---- A token alone

// Rows [n, n + R) of 16 V channels of a state take up what is pending: x, decayed until now. The
// same rows of the next head are fetched meanwhile, or memory would wait for the arithmetic.
template <int R, class State, int V>
inline void settle_rows(const SsdScanArgs& a, const State& state, const Cols& cols, int64_t n,
                        __m512 decay, const float* b, const __m512 (&x)[kSsdPending][V]) {
  const int64_t head = a.states * a.head_dim, first = cols.head * head + cols.begin;
  __m512 rows[R][V];
  for (int r = 0; r < R; ++r)
    for (int v = 0; v < V; ++v) {
      const int64_t at = first + (n + r) * a.head_dim + 16 * v;
      rows[r][v] = _mm512_mul_ps(decay, state.load(at, cols.mask[v]));
      state.fetch(at + head);
    }
  for (int j = 0; j < kSsdPending; ++j)
    for (int r = 0; r < R; ++r) {
      const __m512 bn = _mm512_set1_ps(b[(n + r) * kSsdPending + j]);
      for (int v = 0; v < V; ++v) rows[r][v] = _mm512_fmadd_ps(bn, x[j][v], rows[r][v]);
    }
  for (int r = 0; r < R; ++r)
    for (int v = 0; v < V; ++v)
      state.store(first + (n + r) * a.head_dim + 16 * v, cols.mask[v], rows[r][v]);
}

// A head's state takes up what is pending.
template <class State>
inline void settle(const SsdScanArgs& a, int64_t h) {
  const State state(a);
  const float* b = pending_b(a, h / (a.heads / a.groups));
  float* weight = a.pending.weight + h * kSsdPending;
  const __m512 decay = exp_negative(_mm512_set1_ps(a.pending.log[h]));
  over_cols(a, h, [&]<int V>(const Cols& cols) {
    const float* from = a.pending.x + h * kSsdPending * a.head_dim + cols.begin;
    __m512 x[kSsdPending][V];
    for (int j = 0; j < kSsdPending; ++j)
      for (int v = 0; v < V; ++v)
        x[j][v] = _mm512_mul_ps(_mm512_set1_ps(weight[j]),
                                load(from + j * a.head_dim + 16 * v, cols.mask[v]));
    int64_t n = 0;
    for (; n + 4 <= a.states; n += 4) settle_rows<4>(a, state, cols, n, decay, b, x);
    for (; n < a.states; ++n) settle_rows<1>(a, state, cols, n, decay, b, x);
  });
  _mm256_storeu_ps(weight, _mm256_setzero_ps());
  a.pending.log[h] = 0;
}

// sum = C state for 16 V channels, the last of them masked. Two sums each: one would wait for
// itself.
template <class State, int V>
inline void read_state(const SsdScanArgs& a, int64_t h, int64_t p, __mmask16 last,
                       __m512 (&sum)[V]) {
  const State state(a);
  const float* c = a.c + h / (a.heads / a.groups) * a.states;
  const int64_t states = a.states, dim = a.head_dim, head = states * dim;
  const auto mask = [&](int v) { return v + 1 < V ? __mmask16{0xffff} : last; };
  __m512 even[V] = {}, odd[V] = {};
  int64_t n = 0, at = h * head + p;
  for (; n + 2 <= states; n += 2, at += 2 * dim) {
    const __m512 even_c = _mm512_set1_ps(c[n]), odd_c = _mm512_set1_ps(c[n + 1]);
    for (int v = 0; v < V; ++v) {
      even[v] = _mm512_fmadd_ps(even_c, state.load(at + 16 * v, mask(v)), even[v]);
      odd[v] = _mm512_fmadd_ps(odd_c, state.load(at + dim + 16 * v, mask(v)), odd[v]);
    }
  }
  for (int v = 0; v < V; ++v) {
    if (n < states)
      even[v] = _mm512_fmadd_ps(_mm512_set1_ps(c[n]), state.load(at + 16 * v, mask(v)), even[v]);
    sum[v] = _mm512_add_ps(even[v], odd[v]);
  }
}

// y = decay * C state + mix * (dt x of the pending tokens) + D x
template <class State, int V>
inline void output_alone(const SsdScanArgs& a, int64_t h, int64_t p, __mmask16 last, float decay,
                         const float* mix) {
  const float* late = a.pending.x + h * kSsdPending * a.head_dim + p;
  const int64_t dim = a.head_dim, at = h * dim + p;
  __m512 sum[V];
  read_state<State>(a, h, p, last, sum);
  for (int v = 0; v < V; ++v) {
    const __mmask16 mask = v + 1 < V ? __mmask16{0xffff} : last;
    __m512 y = _mm512_mul_ps(_mm512_set1_ps(decay), sum[v]);
    for (int64_t j = 0; j < kSsdPending; ++j)
      y = _mm512_fmadd_ps(_mm512_set1_ps(mix[j]), load(late + j * dim + 16 * v, mask), y);
    y = _mm512_fmadd_ps(_mm512_set1_ps(a.d[h]), load(a.x + at + 16 * v, mask), y);
    store(a.y + at + 16 * v, mask, y);
  }
}

// The decays until the token, which is kept, and the head's channels.
template <class State>
inline void scan_head_alone(const SsdScanArgs& a, int64_t h, __m256 cb) {
  const int64_t slot = a.position % kSsdPending;
  const float dt = a.dt[h];
  a.pending.log[h] += dt * a.a[h];
  const __m512 logs =
      _mm512_mask_mov_ps(_mm512_set1_ps(dt * a.a[h]), 1, _mm512_set1_ps(a.pending.log[h]));
  const __m512 decays = exp_negative(logs);  // of the state; of this token
  float* weight = a.pending.weight + h * kSsdPending;
  const __m256 step =
      _mm256_permutevar8x32_ps(_mm512_castps512_ps256(decays), _mm256_set1_epi32(1));
  const __m256 weights =
      _mm256_mask_mov_ps(_mm256_mul_ps(step, _mm256_loadu_ps(weight)),
                         static_cast<__mmask8>(1u << slot), _mm256_set1_ps(1.0f));
  _mm256_storeu_ps(weight, weights);
  float mix[kSsdPending];
  _mm256_storeu_ps(mix, _mm256_mul_ps(weights, cb));
  float* late = a.pending.x + (h * kSsdPending + slot) * a.head_dim;
  for (int64_t i = 0; i < kSsdPending * a.head_dim; i += 16)
    _mm_prefetch(a.pending.x + h * kSsdPending * a.head_dim + i, _MM_HINT_T0);
  for (int64_t p = 0; p < a.head_dim; p += 16) {
    const __mmask16 mask = first_lanes(a.head_dim - p);
    store(late + p, mask, _mm512_mul_ps(_mm512_set1_ps(dt), load(a.x + h * a.head_dim + p, mask)));
  }
  const float decay = _mm512_cvtss_f32(decays);
  int64_t p = 0;
  for (; p + 64 <= a.head_dim; p += 64) output_alone<State, 4>(a, h, p, 0xffff, decay, mix);
  for (; p < a.head_dim; p += 16)
    output_alone<State, 1>(a, h, p, first_lanes(a.head_dim - p), decay, mix);
}

template <class State>
inline void scan_alone(const SsdScanArgs& a) {
  over_heads_alone(
      a, [&](int64_t h, __m256 cb) { scan_head_alone<State>(a, h, cb); },
      [&](int64_t h) { settle<State>(a, h); });
}

}  // namespace

void ssd_scan_avx512(const SsdScanArgs& args) {
  if (args.tokens == 1)
    return args.half_state == nullptr ? scan_alone<FullState>(args) : scan_alone<HalfState>(args);
  on_full_state(args, [](const SsdScanArgs& a) {
    for (int64_t h = a.head_begin; h < a.head_end; ++h)
      if (pending(a, h)) settle<FullState>(a, h);
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
