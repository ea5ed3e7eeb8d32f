// Built with -mavx2 -mfma -mf16c. See kernels/README.md for the one rule of such files.
#include "kernels/cpu/scan/ssd_pending_avx2.h"
#include "kernels/cpu/vec_avx2.h"
// This one computes with what the one before defines.
#include "kernels/cpu/tile_simd.h"

namespace klens::cpu {

SsdScan ssd_scan_avx2;

namespace {

constexpr int64_t kChunk = 32;      // tokens
constexpr int64_t kFewTokens = 12;  // up to here the recurrence is faster
constexpr int64_t kRows = 6;        // of a tile: tokens or states
constexpr int64_t kAhead = 32;      // channels: rows lie in different pages
constexpr int64_t kCols = 16;       // of a tile: channels or earlier tokens

// Sixteen channels of a head, or those left.
struct Cols {
  int64_t count;
  __m256i mask[2];
};

inline Cols cols_left(int64_t left) {
  const int64_t count = least(left, kCols);
  return {count, {lanes_left(count), first_lanes(count > 8 ? count - 8 : 0)}};
}

inline __m256 load(const float* p, const Cols& cols, int v) {
  return cols.count == kCols ? _mm256_loadu_ps(p + 8 * v)
                             : _mm256_maskload_ps(p + 8 * v, cols.mask[v]);
}

inline void store(float* p, const Cols& cols, int v, __m256 value) {
  if (cols.count == kCols) {
    _mm256_storeu_ps(p + 8 * v, value);
  } else {
    _mm256_maskstore_ps(p + 8 * v, cols.mask[v], value);
  }
}

// Eight of a state's elements, as it is kept: all of them, or the first `left`.
struct FullState {
  static __m256 load(const SsdScanArgs& a, int64_t at, int64_t left) {
    return left >= 8 ? _mm256_loadu_ps(a.state + at)
                     : _mm256_maskload_ps(a.state + at, lanes_left(left));
  }
  static void store(const SsdScanArgs& a, int64_t at, int64_t left, __m256 v) {
    if (left >= 8) return _mm256_storeu_ps(a.state + at, v);
    _mm256_maskstore_ps(a.state + at, lanes_left(left), v);
  }
};

struct HalfState {
  static __m128i halves(__m256 v) {
    const __m256 most = _mm256_set1_ps(65504), low = _mm256_max_ps(_mm256_set1_ps(-65504), v);
    return _mm256_cvtps_ph(_mm256_min_ps(most, low), _MM_FROUND_TO_NEAREST_INT);
  }
  static __m256 load(const SsdScanArgs& a, int64_t at, int64_t left) {
    const auto* from = reinterpret_cast<const __m128i*>(a.half_state + at);
    if (left >= 8) return _mm256_cvtph_ps(_mm_loadu_si128(from));
    __m128i part = _mm_setzero_si128();
    __builtin_memcpy(&part, from, static_cast<size_t>(left) * 2);
    return _mm256_cvtph_ps(part);
  }
  static void store(const SsdScanArgs& a, int64_t at, int64_t left, __m256 v) {
    const __m128i half = halves(v);
    auto* to = reinterpret_cast<__m128i*>(a.half_state + at);
    if (left >= 8) return _mm_storeu_si128(to, half);
    __builtin_memcpy(to, &half, static_cast<size_t>(left) * 2);
  }
};

// scan(the same call with an FP32 state), from one rounding of an FP16 state to the next.
template <class Scan>
inline void on_full_state(const SsdScanArgs& a, const Scan& scan) {
  if (a.half_state == nullptr) return scan(a);
  const int64_t size = a.states * a.head_dim, begin = a.head_begin * size, end = a.head_end * size;
  SsdScanArgs full = a;
  full.state = a.work;
  full.half_state = nullptr;
  full.work = a.work + a.heads * size;
  for (int64_t i = begin; i < end; i += 8)
    FullState::store(full, i, end - i, HalfState::load(a, i, end - i));
  if (a.tokens == 0) scan(full);
  over_time<kSsdBlock>(a, [&](int64_t t, int64_t tokens) {
    scan(ssd_part(full, t, tokens));
    if (t + tokens == a.tokens) return;
    for (int64_t i = begin; i < end; i += 8) {
      const __m128i half = HalfState::halves(FullState::load(full, i, end - i));
      FullState::store(full, i, end - i, _mm256_cvtph_ps(half));
    }
  });
  for (int64_t i = begin; i < end; i += 8)
    HalfState::store(a, i, end - i, FullState::load(full, i, end - i));
}

// ---- The recurrence

// One token of 8 V channels, state row after state row as they lie in memory.
template <int V, class L>
inline void step(const SsdScanArgs& a, int64_t t, int64_t h, int64_t p, L lanes) {
  const int64_t group = h / (a.heads / a.groups);
  const float* b = a.b + t * a.bc_stride + group * a.states;
  const float* c = a.c + t * a.bc_stride + group * a.states;
  const float* x = a.x + t * a.x_stride + h * a.head_dim + p;
  const float dt = a.dt[t * a.dt_stride + h];
  const __m256 decay = exp_negative(_mm256_set1_ps(dt * a.a[h]));
  float* state = a.state + h * a.states * a.head_dim + p;
  __m256 input[V], sum[V];
  for (int v = 0; v < V; ++v) {
    const __m256 xv = load(x + 8 * v, lanes);
    input[v] = _mm256_mul_ps(_mm256_set1_ps(dt), xv);
    sum[v] = _mm256_mul_ps(_mm256_set1_ps(a.d[h]), xv);
  }
  for (int64_t n = 0; n < a.states; ++n, state += a.head_dim) {
    const __m256 bn = _mm256_set1_ps(b[n]), cn = _mm256_set1_ps(c[n]);
    for (int v = 0; v < V; ++v) {
      const __m256 next =
          _mm256_fmadd_ps(decay, load(state + 8 * v, lanes), _mm256_mul_ps(bn, input[v]));
      store(state + 8 * v, lanes, next);
      sum[v] = _mm256_fmadd_ps(cn, next, sum[v]);
    }
  }
  float* y = a.y + t * a.y_stride + h * a.head_dim + p;
  for (int v = 0; v < V; ++v) store(y + 8 * v, lanes, sum[v]);
}

inline void recur(const SsdScanArgs& a, int64_t begin, int64_t end) {
  for (int64_t h = a.head_begin; h < a.head_end; ++h) {
    int64_t p = 0;
    for (; p + 64 <= a.head_dim; p += 64)
      for (int64_t t = begin; t < end; ++t) step<8>(a, t, h, p, AllLanes{});
    for (; p + 16 <= a.head_dim; p += 16)
      for (int64_t t = begin; t < end; ++t) step<2>(a, t, h, p, AllLanes{});
    for (; p < a.head_dim; p += 8) {
      const __m256i mask = lanes_left(a.head_dim - p);
      for (int64_t t = begin; t < end; ++t) step<1>(a, t, h, p, mask);
    }
  }
}

// ---- Chunks

// The pieces of args.work; ssd_scan_work() counts them.
struct Work {
  float* b;      // [states to a multiple of 8][kChunk]: B of a group, transposed
  float* state;  // [states][kCols]: some channels of a head's state before the chunk
  float* cb;     // [kChunk + kRows][kChunk]: C B^T of a group, as far as tiles meet s <= t
  float* mix;    // [kChunk + kRows][kChunk]: cb times decays from s to t, 0 where s > t
  float* x;      // [kChunk][kCols]: dt x
  float* end;    // [kChunk][kCols]: dt x decayed to the end of the chunk
};

inline Work pieces(const SsdScanArgs& a) {
  Work w;
  w.b = a.work;
  w.state = w.b + (a.states + 7) / 8 * 8 * kChunk;
  w.cb = w.state + a.states * kCols;
  w.mix = w.cb + (kChunk + kRows) * kChunk;
  w.x = w.mix + (kChunk + kRows) * kChunk;
  w.end = w.x + kChunk * kCols;
  return w;
}

struct Chunk {
  int64_t begin, tokens, group;
};

// What a head's decays are within a chunk. The logarithms add up in FP64: a difference of two large
// sums still has the digits of a small one, and is never above zero.
struct Decays {
  double log[kChunk + 8];  // from before the chunk to after token t
  float from_start[kChunk];
  float to_end[kChunk];
};

inline __m256 exp_of_differences(const __m256d (&from)[2], __m256d to) {
  const __m128 low = _mm256_cvtpd_ps(_mm256_sub_pd(to, from[0]));
  const __m128 high = _mm256_cvtpd_ps(_mm256_sub_pd(to, from[1]));
  return exp_negative(_mm256_min_ps(_mm256_set_m128(high, low), _mm256_setzero_ps()));
}

inline void find_decays(const SsdScanArgs& a, const Chunk& chunk, int64_t h, Decays& d) {
  double sum = 0;
  for (int64_t t = 0; t < chunk.tokens; ++t)
    d.log[t] = sum += double{a.dt[(chunk.begin + t) * a.dt_stride + h]} * double{a.a[h]};
  for (int64_t t = chunk.tokens; t < kChunk + 8; ++t) d.log[t] = sum;
  const __m256d zero[2] = {_mm256_setzero_pd(), _mm256_setzero_pd()};
  for (int64_t t = 0; t < kChunk; t += 8) {
    const __m256d log[2] = {_mm256_loadu_pd(d.log + t), _mm256_loadu_pd(d.log + t + 4)};
    const __m256d minus[2] = {_mm256_sub_pd(zero[0], log[0]), _mm256_sub_pd(zero[1], log[1])};
    _mm256_storeu_ps(d.from_start + t, exp_of_differences(minus, zero[0]));
    _mm256_storeu_ps(d.to_end + t, exp_of_differences(log, _mm256_set1_pd(sum)));
  }
}

// Rows of a tile from `first` on; where fewer are left the last is repeated and its sums not used.
inline void tile_rows(const float* data, int64_t stride, int64_t first, int64_t count,
                      const float* (&rows)[kRows]) {
  for (int64_t r = 0; r < kRows; ++r) rows[r] = data + least(first + r, count - 1) * stride;
}

inline void transpose_b(const SsdScanArgs& a, const Chunk& chunk, const Work& w) {
  const float* b = a.b + chunk.begin * a.bc_stride + chunk.group * a.states;
  for (int64_t n = 0; n < a.states; n += 8) {
    const __m256i mask = lanes_left(a.states - n);
    for (int64_t t = 0; t < kChunk; t += 8) {
      __m256 v[8];
      for (int64_t i = 0; i < 8; ++i)
        v[i] = t + i < chunk.tokens ? _mm256_maskload_ps(b + (t + i) * a.bc_stride + n, mask)
                                    : _mm256_setzero_ps();
      transpose(v);
      for (int64_t i = 0; i < 8; ++i) _mm256_storeu_ps(w.b + (n + i) * kChunk + t, v[i]);
    }
  }
}

inline void multiply_cb(const SsdScanArgs& a, const Chunk& chunk, const Work& w) {
  const float* c = a.c + chunk.begin * a.bc_stride + chunk.group * a.states;
  for (int64_t t = 0; t < chunk.tokens; t += kRows) {
    const float* rows[kRows];
    tile_rows(c, a.bc_stride, t, chunk.tokens, rows);
    for (int64_t s = 0; s < t + kRows && s < kChunk; s += kCols) {
      Tile<kRows, 2> tile = {};
      multiply(rows, w.b + s, kChunk, a.states, tile);
      for (int64_t r = 0; r < kRows; ++r)
        for (int v = 0; v < 2; ++v)
          _mm256_storeu_ps(w.cb + (t + r) * kChunk + s + 8 * v, tile.v[r][v]);
    }
  }
}

inline void mix_decays(const Chunk& chunk, const Decays& d, const Work& w) {
  for (int64_t t = 0; t < chunk.tokens; ++t) {
    const __m256d to = _mm256_set1_pd(d.log[t]);
    const int64_t tile_end = least(t / kRows * kRows + kRows, kChunk);
    for (int64_t s = 0; s < tile_end; s += 8) {
      const int64_t at = t * kChunk + s, seen = t + 1 - s;
      const __m256d from[2] = {_mm256_loadu_pd(d.log + s), _mm256_loadu_pd(d.log + s + 4)};
      const __m256 mix = _mm256_mul_ps(_mm256_loadu_ps(w.cb + at), exp_of_differences(from, to));
      const __m256i mask = first_lanes(seen >= 8 ? 8 : seen > 0 ? seen : 0);
      _mm256_storeu_ps(w.mix + at, _mm256_and_ps(mix, _mm256_castsi256_ps(mask)));
    }
  }
}

// dt x and the state, gathered from rows far apart.
inline void gather(const SsdScanArgs& a, const Chunk& chunk, int64_t h, int64_t p, const Cols& cols,
                   const Decays& d, const Work& w) {
  for (int64_t t = 0; t < chunk.tokens; ++t) {
    const float* x = a.x + (chunk.begin + t) * a.x_stride + h * a.head_dim + p;
    const float* y = a.y + (chunk.begin + t) * a.y_stride + h * a.head_dim + p;
    _mm_prefetch(x + kAhead, _MM_HINT_T1);
    _mm_prefetch(y + kAhead, _MM_HINT_T1);
    const __m256 dt = _mm256_set1_ps(a.dt[(chunk.begin + t) * a.dt_stride + h]);
    const __m256 to_end = _mm256_set1_ps(d.to_end[t]);
    for (int v = 0; v < 2; ++v) {
      const __m256 dt_x = _mm256_mul_ps(dt, load(x, cols, v));
      _mm256_storeu_ps(w.x + t * kCols + 8 * v, dt_x);
      _mm256_storeu_ps(w.end + t * kCols + 8 * v, _mm256_mul_ps(dt_x, to_end));
    }
  }
  const float* state = a.state + h * a.states * a.head_dim + p;
  for (int64_t n = 0; n < a.states; ++n)
    for (int v = 0; v < 2; ++v)
      _mm256_storeu_ps(w.state + n * kCols + 8 * v, load(state + n * a.head_dim, cols, v));
}

// y = decay from the start * C state + mix * dt x + D x
inline void output(const SsdScanArgs& a, const Chunk& chunk, int64_t h, int64_t p, const Cols& cols,
                   const Decays& d, const Work& w) {
  const float* c = a.c + chunk.begin * a.bc_stride + chunk.group * a.states;
  const __m256 skip = _mm256_set1_ps(a.d[h]);
  for (int64_t t = 0; t < chunk.tokens; t += kRows) {
    const float* rows[kRows];
    tile_rows(c, a.bc_stride, t, chunk.tokens, rows);
    Tile<kRows, 2> tile = {};
    multiply(rows, w.state, kCols, a.states, tile);
    const int64_t count = least(kRows, chunk.tokens - t);
    for (int64_t r = 0; r < kRows; ++r) {
      const __m256 decay = _mm256_set1_ps(d.from_start[least(t + r, kChunk - 1)]);
      for (int v = 0; v < 2; ++v) tile.v[r][v] = _mm256_mul_ps(tile.v[r][v], decay);
    }
    tile_rows(w.mix, kChunk, t, chunk.tokens, rows);
    multiply(rows, w.x, kCols, t + count, tile);
    for (int64_t r = 0; r < count; ++r) {
      const int64_t token = chunk.begin + t + r, at = h * a.head_dim + p;
      for (int v = 0; v < 2; ++v) {
        const __m256 x = load(a.x + token * a.x_stride + at, cols, v);
        store(a.y + token * a.y_stride + at, cols, v, _mm256_fmadd_ps(skip, x, tile.v[r][v]));
      }
    }
  }
}

// state = decay over the chunk * state + B^T (dt x decayed to the end)
inline void advance(const SsdScanArgs& a, const Chunk& chunk, int64_t h, int64_t p,
                    const Cols& cols, const Decays& d, const Work& w) {
  const __m256 decay = _mm256_set1_ps(d.from_start[chunk.tokens - 1]);
  float* state = a.state + h * a.states * a.head_dim + p;
  for (int64_t n = 0; n < a.states; n += kRows) {
    const float* rows[kRows];
    tile_rows(w.b, kChunk, n, a.states, rows);
    Tile<kRows, 2> tile;
    for (int64_t r = 0; r < kRows; ++r) {
      const float* before = w.state + least(n + r, a.states - 1) * kCols;
      for (int v = 0; v < 2; ++v)
        tile.v[r][v] = _mm256_mul_ps(decay, _mm256_loadu_ps(before + 8 * v));
    }
    multiply(rows, w.end, kCols, chunk.tokens, tile);
    const int64_t count = least(kRows, a.states - n);
    for (int64_t r = 0; r < count; ++r)
      for (int v = 0; v < 2; ++v) store(state + (n + r) * a.head_dim, cols, v, tile.v[r][v]);
  }
}

inline void scan_group(const SsdScanArgs& a, const Chunk& chunk, int64_t begin, int64_t end,
                       const Work& w) {
  transpose_b(a, chunk, w);
  multiply_cb(a, chunk, w);
  for (int64_t h = begin; h < end; ++h) {
    Decays d;
    find_decays(a, chunk, h, d);
    mix_decays(chunk, d, w);
    for (int64_t p = 0; p < a.head_dim; p += kCols) {
      const Cols cols = cols_left(a.head_dim - p);
      gather(a, chunk, h, p, cols, d, w);
      output(a, chunk, h, p, cols, d, w);
      advance(a, chunk, h, p, cols, d, w);
    }
  }
}

// ---- A token alone

// Rows [n, n + R) of eight channels of a state, or of the `left` ones, take up what is pending: x,
// decayed until now.
template <int R, class State>
inline void settle_rows(const SsdScanArgs& a, int64_t at, int64_t left, const float* b,
                        __m256 decay, const __m256 (&x)[kSsdPending]) {
  const int64_t dim = a.head_dim;
  __m256 rows[R];
  for (int r = 0; r < R; ++r) rows[r] = _mm256_mul_ps(decay, State::load(a, at + r * dim, left));
  for (int j = 0; j < kSsdPending; ++j)
    for (int r = 0; r < R; ++r)
      rows[r] = _mm256_fmadd_ps(_mm256_broadcast_ss(b + r * kSsdPending + j), x[j], rows[r]);
  for (int r = 0; r < R; ++r) State::store(a, at + r * dim, left, rows[r]);
}

// Eight channels of a head, or those left.
template <class State, bool Whole>
inline void settle_strip(const SsdScanArgs& a, int64_t h, int64_t p, __m256 decay) {
  const int64_t dim = a.head_dim, states = a.states, left = Whole ? 8 : dim - p;
  const float *b = pending_b(a, h / (a.heads / a.groups)),
              *weight = a.pending.weight + h * kSsdPending;
  const float* from = a.pending.x + h * kSsdPending * dim + p;
  __m256 x[kSsdPending];
  for (int64_t j = 0; j < kSsdPending; ++j)
    x[j] = _mm256_mul_ps(_mm256_broadcast_ss(weight + j),
                         Whole ? load(from + j * dim) : load(from + j * dim, lanes_left(left)));
  int64_t n = 0, at = h * states * dim + p;
  for (; n + 4 <= states; n += 4, at += 4 * dim)
    settle_rows<4, State>(a, at, left, b + n * kSsdPending, decay, x);
  for (; n < states; ++n, at += dim)
    settle_rows<1, State>(a, at, left, b + n * kSsdPending, decay, x);
}

// A head's state takes up what is pending.
template <class State>
inline void settle(const SsdScanArgs& a, int64_t h) {
  const __m256 decay = exp_negative(_mm256_set1_ps(a.pending.log[h]));
  int64_t p = 0;
  for (; p + 8 <= a.head_dim; p += 8) settle_strip<State, true>(a, h, p, decay);
  if (p < a.head_dim) settle_strip<State, false>(a, h, p, decay);
  _mm256_storeu_ps(a.pending.weight + h * kSsdPending, _mm256_setzero_ps());
  a.pending.log[h] = 0;
}

// sum = C state for 8 V channels, or the `left` ones.
template <class State, int V>
inline void read_state(const SsdScanArgs& a, int64_t h, int64_t p, int64_t left, __m256 (&sum)[V]) {
  const float* c = a.c + h / (a.heads / a.groups) * a.states;
  const int64_t states = a.states, dim = a.head_dim;
  int64_t at = h * states * dim + p;
  __m256 sums[V] = {};
  for (int64_t n = 0; n < states; ++n, at += dim) {
    const __m256 cn = _mm256_broadcast_ss(c + n);
    for (int v = 0; v < V; ++v)
      sums[v] = _mm256_fmadd_ps(cn, State::load(a, at + 8 * v, left), sums[v]);
  }
  for (int v = 0; v < V; ++v) sum[v] = sums[v];
}

// y = decay * C state + mix * (dt x of the pending tokens) + D x
template <class State, int V>
inline void output_alone(const SsdScanArgs& a, int64_t h, int64_t p, float decay,
                         const float* mix) {
  const int64_t dim = a.head_dim, left = V == 1 ? dim - p : 8;
  const auto lanes = [=] {
    if constexpr (V == 1)
      return lanes_left(left);
    else
      return AllLanes{};
  }();
  const float* late = a.pending.x + h * kSsdPending * dim + p;
  __m256 sum[V];
  read_state<State>(a, h, p, left, sum);
  for (int v = 0; v < V; ++v) {
    const int64_t at = h * dim + p + 8 * v;
    __m256 y = _mm256_mul_ps(_mm256_set1_ps(decay), sum[v]);
    for (int64_t j = 0; j < kSsdPending; ++j)
      y = _mm256_fmadd_ps(_mm256_broadcast_ss(mix + j), load(late + j * dim + 8 * v, lanes), y);
    y = _mm256_fmadd_ps(_mm256_set1_ps(a.d[h]), load(a.x + at, lanes), y);
    store(a.y + at, lanes, y);
  }
}

// The decays until the token, which is kept, and the head's channels.
template <class State>
inline void scan_head_alone(const SsdScanArgs& a, int64_t h, __m256 cb) {
  const int64_t slot = a.position % kSsdPending;
  const float dt = a.dt[h];
  a.pending.log[h] += dt * a.a[h];
  float* weight = a.pending.weight + h * kSsdPending;
  const __m256 step = exp_negative(_mm256_set1_ps(dt * a.a[h]));
  const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  const __m256i own = _mm256_cmpeq_epi32(lanes, _mm256_set1_epi32(static_cast<int>(slot)));
  const __m256 weights = _mm256_blendv_ps(_mm256_mul_ps(step, _mm256_loadu_ps(weight)),
                                          _mm256_set1_ps(1), _mm256_castsi256_ps(own));
  _mm256_storeu_ps(weight, weights);
  float mix[kSsdPending];
  _mm256_storeu_ps(mix, _mm256_mul_ps(weights, cb));
  float* late = a.pending.x + (h * kSsdPending + slot) * a.head_dim;
  for (int64_t i = 0; i < kSsdPending * a.head_dim; i += 16)
    _mm_prefetch(a.pending.x + h * kSsdPending * a.head_dim + i, _MM_HINT_T0);
  for (int64_t p = 0; p < a.head_dim; ++p) late[p] = dt * a.x[h * a.head_dim + p];
  const float decay = _mm256_cvtss_f32(exp_negative(_mm256_set1_ps(a.pending.log[h])));
  int64_t p = 0;
  for (; p + 64 <= a.head_dim; p += 64) output_alone<State, 8>(a, h, p, decay, mix);
  for (; p + 16 <= a.head_dim; p += 16) output_alone<State, 2>(a, h, p, decay, mix);
  for (; p < a.head_dim; p += 8) output_alone<State, 1>(a, h, p, decay, mix);
}

template <class State>
inline void scan_alone(const SsdScanArgs& a) {
  over_heads_alone(
      a, [&](int64_t h, __m256 cb) { scan_head_alone<State>(a, h, cb); },
      [&](int64_t h) { settle<State>(a, h); });
}

}  // namespace

void ssd_scan_avx2(const SsdScanArgs& args) {
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
