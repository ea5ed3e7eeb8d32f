// What the AVX-512 rows of ssd_scan share: the recurrence, a chunk's decays and channels. See
// kernels/README.md for the one rule of such files.
#pragma once
#include "kernels/cpu/scan/ssd_pending_avx2.h"
#include "kernels/cpu/vec_avx512.h"

namespace klens::cpu {
namespace {

constexpr int64_t kChunk = 32;      // tokens
constexpr int64_t kFewTokens = 12;  // up to here the recurrence is faster
constexpr int64_t kRows = 8;        // of a tile: tokens or states

// One token of 16 V channels, the last of them masked, state row after state row as they lie in
// memory.
template <int V>
inline void step(const SsdScanArgs& a, int64_t t, int64_t h, int64_t p, __mmask16 last) {
  const int64_t group = h / (a.heads / a.groups);
  const float* b = a.b + t * a.bc_stride + group * a.states;
  const float* c = a.c + t * a.bc_stride + group * a.states;
  const float* x = a.x + t * a.x_stride + h * a.head_dim + p;
  const float dt = a.dt[t * a.dt_stride + h];
  const __m512 decay = exp_negative(_mm512_set1_ps(dt * a.a[h]));
  float* state = a.state + h * a.states * a.head_dim + p;
  __m512 input[V], sum[V];
  for (int v = 0; v < V; ++v) {
    const __m512 xv = load(x + 16 * v, v + 1 < V ? 0xffff : last);
    input[v] = _mm512_mul_ps(_mm512_set1_ps(dt), xv);
    sum[v] = _mm512_mul_ps(_mm512_set1_ps(a.d[h]), xv);
  }
  for (int64_t n = 0; n < a.states; ++n, state += a.head_dim) {
    const __m512 bn = _mm512_set1_ps(b[n]), cn = _mm512_set1_ps(c[n]);
    for (int v = 0; v < V; ++v) {
      const __mmask16 mask = v + 1 < V ? 0xffff : last;
      const __m512 next =
          _mm512_fmadd_ps(decay, load(state + 16 * v, mask), _mm512_mul_ps(bn, input[v]));
      store(state + 16 * v, mask, next);
      sum[v] = _mm512_fmadd_ps(cn, next, sum[v]);
    }
  }
  float* y = a.y + t * a.y_stride + h * a.head_dim + p;
  for (int v = 0; v < V; ++v) store(y + 16 * v, v + 1 < V ? 0xffff : last, sum[v]);
}

inline void recur(const SsdScanArgs& a, int64_t begin, int64_t end) {
  for (int64_t h = a.head_begin; h < a.head_end; ++h) {
    int64_t p = 0;
    for (; p + 64 <= a.head_dim; p += 64)
      for (int64_t t = begin; t < end; ++t) step<4>(a, t, h, p, 0xffff);
    for (; p < a.head_dim; p += 16)
      for (int64_t t = begin; t < end; ++t) step<1>(a, t, h, p, first_lanes(a.head_dim - p));
  }
}

struct Chunk {
  int64_t begin, tokens, group;
};

// 16 V channels of a head, the last of them masked.
struct Cols {
  int64_t head, begin;
  __mmask16 mask[2];
};

// Eight rows of a product, each 16 V wide. Rows beyond the chunk's tokens or the states are
// computed too, of what work holds there, and not used.
template <int V>
struct Tile {
  __m512 v[kRows][V];
};

// [16][n] to [n][16] elements of 32 bits; rows lie `stride` apart, those not in the mask are zeros.
inline void transpose16(const void* from, int64_t stride, __mmask16 rows, int64_t n, void* to,
                        int64_t to_stride) {
  const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m512i at = _mm512_mullo_epi32(lane, _mm512_set1_epi32(static_cast<int32_t>(stride)));
  for (int64_t i = 0; i < n; ++i)
    _mm512_storeu_si512(static_cast<float*>(to) + i * to_stride,
                        _mm512_mask_i32gather_epi32(_mm512_setzero_si512(), rows, at,
                                                    static_cast<const float*>(from) + i, 4));
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
  return exp_negative(_mm512_min_ps(log, _mm512_setzero_ps()));
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

// What tokens s … s + 15 still give to token t: cb times dt and the decays from s to t, 0 where s >
// t.
inline __m512 mixed(const Decays& d, int64_t t, int64_t s, __m512 cb) {
  const __m512 decay = exp_of_differences(_mm512_loadu_pd(d.log + s),
                                          _mm512_loadu_pd(d.log + s + 8), _mm512_set1_pd(d.log[t]));
  return _mm512_maskz_mul_ps(first_lanes(t + 1 - s), _mm512_mul_ps(cb, _mm512_loadu_ps(d.dt + s)),
                             decay);
}

// The next channels of a row: rows lie in different pages, which no hardware prefetch crosses.
inline void fetch_next(const float* row) {
  _mm_prefetch(row + 32, _MM_HINT_T1);
  _mm_prefetch(row + 48, _MM_HINT_T1);
}

// tile[r] *= by[r]
template <int V>
inline void scale_rows(Tile<V>& tile, const float* by) {
  for (int64_t r = 0; r < kRows; ++r)
    for (int v = 0; v < V; ++v) tile.v[r][v] = _mm512_mul_ps(tile.v[r][v], _mm512_set1_ps(by[r]));
}

// y = tile + D x for `count` tokens.
template <int V>
inline void store_outputs(const Tile<V>& tile, __m512 skip, const float* x, int64_t x_stride,
                          float* y, int64_t y_stride, const Cols& cols, int64_t count) {
  for (int64_t r = 0; r < count; ++r)
    for (int v = 0; v < V; ++v) {
      const __m512 xv = load(x + r * x_stride + 16 * v, cols.mask[v]);
      store(y + r * y_stride + 16 * v, cols.mask[v], _mm512_fmadd_ps(skip, xv, tile.v[r][v]));
    }
}

// Sixteen of a state's elements, as it is kept.
struct FullState {
  explicit FullState(const SsdScanArgs& a) : data(a.state) {}
  __m512 load(int64_t at, __mmask16 mask) const { return cpu::load(data + at, mask); }
  void store(int64_t at, __mmask16 mask, __m512 v) const { cpu::store(data + at, mask, v); }
  void fetch(int64_t at) const { _mm_prefetch(data + at, _MM_HINT_T0); }
  float* data;
};

struct HalfState {
  explicit HalfState(const SsdScanArgs& a) : data(a.half_state) {}
  __m512 load(int64_t at, __mmask16 mask) const {
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, data + at));
  }
  static __m256i halves(__m512 v) {
    const __m512 most = _mm512_set1_ps(65504), low = _mm512_max_ps(_mm512_set1_ps(-65504), v);
    return _mm512_cvtps_ph(_mm512_min_ps(most, low), _MM_FROUND_TO_NEAREST_INT);
  }
  void store(int64_t at, __mmask16 mask, __m512 v) const {
    _mm256_mask_storeu_epi16(data + at, mask, halves(v));
  }
  void fetch(int64_t at) const { _mm_prefetch(data + at, _MM_HINT_T0); }
  uint16_t* data;
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
  const FullState wide(full);
  const HalfState kept(a);
  for (int64_t i = begin; i < end; i += 16)
    wide.store(i, first_lanes(end - i), kept.load(i, first_lanes(end - i)));
  if (a.tokens == 0) scan(full);
  over_time<kSsdBlock>(a, [&](int64_t t, int64_t tokens) {
    scan(ssd_part(full, t, tokens));
    if (t + tokens == a.tokens) return;
    for (int64_t i = begin; i < end; i += 16) {
      const __mmask16 mask = first_lanes(end - i);
      wide.store(i, mask, _mm512_cvtph_ps(HalfState::halves(wide.load(i, mask))));
    }
  });
  for (int64_t i = begin; i < end; i += 16)
    kept.store(i, first_lanes(end - i), wide.load(i, first_lanes(end - i)));
}

// state = decay * state + add(n, tile), tile after tile of states; add(n, tile) adds to states from
// n.
template <int V, class Add>
inline void advance_state(const SsdScanArgs& a, const Cols& cols, float decay, const Add& add) {
  float* state = a.state + cols.head * a.states * a.head_dim + cols.begin;
  for (int64_t n = 0; n < a.states; n += kRows) {
    Tile<V> tile;
    for (int64_t r = 0; r < kRows; ++r) {
      const float* row = state + least(n + r, a.states - 1) * a.head_dim;
      for (int v = 0; v < V; ++v)
        tile.v[r][v] = _mm512_mul_ps(_mm512_set1_ps(decay), load(row + 16 * v, cols.mask[v]));
    }
    add(n, tile);
    const int64_t count = least(kRows, a.states - n);
    for (int64_t r = 0; r < count; ++r)
      for (int v = 0; v < V; ++v)
        store(state + (n + r) * a.head_dim + 16 * v, cols.mask[v], tile.v[r][v]);
  }
}

// part(Cols, width in vectors) for all channels of a head.
template <class Part>
inline void over_cols(const SsdScanArgs& a, int64_t h, const Part& part) {
  for (int64_t p = 0; p < a.head_dim; p += 32) {
    const int64_t left = a.head_dim - p;
    if (left > 16)
      part.template operator()<2>(Cols{h, p, {0xffff, first_lanes(left - 16)}});
    else
      part.template operator()<1>(Cols{h, p, {first_lanes(left), 0}});
  }
}

}  // namespace
}  // namespace klens::cpu
