// For delta_rule_<isa>.cpp only, after vec_<isa>.h. Internal linkage throughout.
#pragma once
#include "kernels/cpu/scan/delta_rule.h"
#include "kernels/cpu/tile_simd.h"

namespace klens::cpu {
namespace {

constexpr int64_t kStrip = 32;                 // columns of values that are gone through together
constexpr int kRows = kLanes == 16 ? 8 : 4;    // of a tile, whose sums are half the registers
constexpr int kVecs = 2;                       // of a tile
constexpr int64_t kTileCols = kVecs * kLanes;  // divides kStrip
constexpr int64_t kKeyMultiple = 16;

// Where the pieces lie in the caller's memory. Rows behind the last token are zeros.
struct Work {
  int64_t keys;       // k_dim, padded
  float *k, *q;       // [kDeltaChunk][keys]: of unit length, queries times k_dim^-1/2
  float* kt;          // [keys][kDeltaChunk]
  float *mix, *seen;  // [kDeltaChunk][kDeltaChunk]: -beta k k^T and q k^T, decayed, lower triangles
  float *delta, *late;  // [kDeltaChunk][kStrip]: delta, and as much of it as is left at the end
  float *log, *low;     // [kDeltaChunk]: sums of log_decay in two parts, as they may be large
  float *grow, *left, *beta;  // [kDeltaChunk]: e^log; what is left of a token at the chunk's end
  float *decay, *old_k, *old_q, *key, *query;  // [keys]: of one token
  float* state;  // [keys][v_dim, padded]: where the state's own sizes do not fill tiles
};

inline Work work_of(const DeltaRuleArgs& a) {
  constexpr int64_t kC = kDeltaChunk;
  Work w;
  w.keys = (a.k_dim + kKeyMultiple - 1) / kKeyMultiple * kKeyMultiple;
  float* at = a.work;
  const auto take = [&](int64_t count) {
    float* const taken = at;
    at += count;
    return taken;
  };
  w.k = take(kC * w.keys);
  w.q = take(kC * w.keys);
  w.kt = take(kC * w.keys);
  w.mix = take(kC * kC);
  w.seen = take(kC * kC);
  w.delta = take(kC * kStrip);
  w.late = take(kC * kStrip);
  w.log = take(kC);
  w.low = take(kC);
  w.grow = take(kC);
  w.left = take(kC);
  w.beta = take(kC);
  w.decay = take(w.keys);
  w.old_k = take(w.keys);
  w.old_q = take(w.keys);
  w.key = take(w.keys);
  w.query = take(w.keys);
  w.state = take(0);
  return w;
}

inline int64_t key_head_of(const DeltaRuleArgs& a, int64_t h) {
  return a.tiled ? h % a.key_heads : h / (a.heads / a.key_heads);
}

inline Vec inverse_root(float x) { return divide(each(1.0f), square_root(each(x))); }

// to = x times `by` over its length, zeros up to `padded`.
inline void normalise(const float* x, int64_t count, int64_t padded, Vec by, float* to) {
  Vec squares = each(0);
  over(count, [&](int64_t i, auto lanes) {
    const Vec v = load(x + i, lanes);
    squares = multiply_add(v, v, squares);
  });
  const Vec scale = times(by, inverse_root(sum_of(squares) + 1e-6f));
  over(count,
       [&](int64_t i, auto lanes) { store(to + i, lanes, times(scale, load(x + i, lanes))); });
  for (int64_t i = count; i < padded; ++i) to[i] = 0;
}

// ---- One token ----------------------------------------------------------------------------------

// Of V vectors of values from p on. The state of these comes from memory once, for what it shows of
// the key and the query; it is still near when it is written.
template <int V, class L>
inline void step_columns(const DeltaRuleArgs& a, const Work& w, float* state, const float* v,
                         float* y, Vec beta, Vec both, L lanes) {
  Vec of_key[2][V], of_query[2][V];
  for (int i = 0; i < V; ++i)
    of_key[0][i] = of_key[1][i] = of_query[0][i] = of_query[1][i] = each(0);
  const auto see = [&](int64_t n, int half) {
    const Vec k = each(w.old_k[n]), q = each(w.old_q[n]);
    for (int i = 0; i < V; ++i) {
      const Vec s = load(state + n * a.v_dim + kLanes * i, lanes);
      of_key[half][i] = multiply_add(k, s, of_key[half][i]);
      of_query[half][i] = multiply_add(q, s, of_query[half][i]);
    }
  };
  int64_t n = 0;
  for (; n + 1 < a.k_dim; n += 2) {
    see(n, 0);
    see(n + 1, 1);
  }
  if (n < a.k_dim) see(n, 0);
  Vec delta[V];
  for (int i = 0; i < V; ++i) {
    const Vec old = add(of_key[0][i], of_key[1][i]);
    delta[i] = times(beta, subtract(load(v + kLanes * i, lanes), old));
    const Vec seen = add(of_query[0][i], of_query[1][i]);
    store(y + kLanes * i, lanes, multiply_add(both, delta[i], seen));
  }
  for (n = 0; n < a.k_dim; ++n) {
    const Vec k = each(w.key[n]), decay = each(w.decay[n]);
    for (int i = 0; i < V; ++i) {
      float* s = state + n * a.v_dim + kLanes * i;
      store(s, lanes, multiply_add(k, delta[i], times(decay, load(s, lanes))));
    }
  }
}

inline void step(const DeltaRuleArgs& a, const Work& w, int64_t t, int64_t h) {
  const int64_t key_head = key_head_of(a, h);
  const float* decay = a.log_decay + t * a.decay_stride + (a.by_channel ? h * a.k_dim : h);
  normalise(a.k + t * a.qkv_stride + key_head * a.k_dim, a.k_dim, a.k_dim, each(1), w.key);
  normalise(a.q + t * a.qkv_stride + key_head * a.k_dim, a.k_dim, a.k_dim,
            inverse_root(static_cast<float>(a.k_dim)), w.query);
  Vec product = each(0);
  over(a.k_dim, [&](int64_t i, auto lanes) {
    const Vec d = exp_of(a.by_channel ? load(decay + i, lanes) : each(*decay));
    const Vec k = load(w.key + i, lanes), q = load(w.query + i, lanes);
    store(w.decay + i, lanes, d);
    store(w.old_k + i, lanes, times(d, k));
    store(w.old_q + i, lanes, times(d, q));
    product = multiply_add(k, q, product);
  });
  const Vec both = each(sum_of(product)), beta = each(a.beta[t * a.beta_stride + h]);
  float* state = a.state + h * a.k_dim * a.v_dim;
  const float* v = a.v + t * a.qkv_stride + h * a.v_dim;
  float* y = a.y + t * a.y_stride + h * a.v_dim;
  int64_t p = 0;
  for (; p + kStrip <= a.v_dim; p += kStrip)
    step_columns<kStrip / kLanes>(a, w, state + p, v + p, y + p, beta, both, AllLanes{});
  over(a.v_dim - p, [&](int64_t i, auto lanes) {
    step_columns<1>(a, w, state + p + i, v + p + i, y + p + i, beta, both, lanes);
  });
}

// ---- A chunk ------------------------------------------------------------------------------------

// What is left at token i of those from j on: 1 for later ones than i.
inline Vec kept(const Work& w, int64_t i, int64_t j) {
  const Vec high = subtract(each(w.log[i]), load(w.log + j));
  const Vec low = subtract(each(w.low[i]), load(w.low + j));
  return exp_of(lesser(add(high, low), each(0)));
}

// Keys, queries, decays of `tokens` tokens from `first` on, of head h; zeros up to `padded` tokens.
inline void gather(const DeltaRuleArgs& a, const Work& w, int64_t first, int64_t tokens,
                   int64_t padded, int64_t h) {
  const int64_t key_head = key_head_of(a, h);
  const Vec by = inverse_root(static_cast<float>(a.k_dim));
  constexpr float kNothing = -1e4f;  // more than what e^x can tell from it
  double log = 0;
  const auto put_log = [&](int64_t i) {
    w.log[i] = static_cast<float>(log);
    w.low[i] = static_cast<float>(log - static_cast<double>(w.log[i]));
  };
  for (int64_t i = 0; i < tokens; ++i) {
    const int64_t at = (first + i) * a.qkv_stride + key_head * a.k_dim;
    normalise(a.k + at, a.k_dim, w.keys, each(1), w.k + i * w.keys);
    normalise(a.q + at, a.k_dim, w.keys, by, w.q + i * w.keys);
    const float step = a.log_decay[(first + i) * a.decay_stride + h];
    log += static_cast<double>(step < kNothing ? kNothing : step);
    put_log(i);
    w.beta[i] = a.beta[(first + i) * a.beta_stride + h];
  }
  for (int64_t i = tokens; i < padded; ++i) {
    for (int64_t n = 0; n < w.keys; ++n) w.k[i * w.keys + n] = w.q[i * w.keys + n] = 0;
    w.beta[i] = 0;
  }
  for (int64_t i = tokens; i < kDeltaChunk; ++i) put_log(i);
  for (int64_t i = 0; i < kDeltaChunk; i += kLanes) {
    store(w.grow + i, exp_of(load(w.log + i)));
    store(w.left + i, kept(w, kDeltaChunk - 1, i));
  }
}

// kt, zeros behind the `padded` tokens.
inline void transpose_keys(const Work& w, int64_t padded) {
  for (int64_t i = 0; i < kDeltaChunk; i += kLanes)
    for (int64_t n = 0; n < w.keys; n += kLanes) {
      Vec block[kLanes];
      for (int r = 0; r < kLanes; ++r)
        block[r] = i + r < padded ? load(w.k + (i + r) * w.keys + n) : each(0);
      transpose(block);
      for (int r = 0; r < kLanes; ++r) store(w.kt + (n + r) * kDeltaChunk + i, block[r]);
    }
}

inline void rows_from(const float* from, int64_t stride, const float* (&rows)[kRows]) {
  for (int r = 0; r < kRows; ++r) rows[r] = from + r * stride;
}

inline Tile<kRows, kVecs> zeros() {
  Tile<kRows, kVecs> tile;
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVecs; ++v) tile.v[r][v] = each(0);
  return tile;
}

// Rows of mix and seen of tokens [i, i + kRows) from products with all keys: decayed from each
// token j to token i; mix times -beta, and without the token itself. Later ones are zeros.
inline void decay_rows(const Work& w, int64_t i) {
  for (int64_t r = i; r < i + kRows; ++r) {
    float* mix = w.mix + r * kDeltaChunk;
    float* seen = w.seen + r * kDeltaChunk;
    const Vec by = each(-w.beta[r]);
    for (int64_t j = 0; j < kDeltaChunk; j += kLanes) {
      if (j > r) {
        store(mix + j, each(0));
        store(seen + j, each(0));
        continue;
      }
      const Vec left = kept(w, r, j);
      store(mix + j, times(times(by, left), load(mix + j)));
      store(seen + j, times(left, load(seen + j)));
    }
    for (int64_t j = r; j < kDeltaChunk && j < (r / kLanes + 1) * kLanes; ++j) {
      mix[j] = 0;
      if (j > r) seen[j] = 0;
    }
  }
}

// mix and seen, of `padded` tokens.
inline void triangles(const Work& w, int64_t padded) {
  for (int64_t i = 0; i < padded; i += kRows) {
    for (int which = 0; which < 2; ++which) {
      const float* rows[kRows];
      rows_from((which == 0 ? w.k : w.q) + i * w.keys, w.keys, rows);
      float* to = (which == 0 ? w.mix : w.seen) + i * kDeltaChunk;
      for (int64_t j = 0; j < kDeltaChunk; j += kTileCols) {
        Tile<kRows, kVecs> tile = zeros();
        if (j < i + kRows) multiply(rows, w.kt + j, kDeltaChunk, w.keys, tile);
        for (int r = 0; r < kRows; ++r)
          for (int v = 0; v < kVecs; ++v)
            store(to + r * kDeltaChunk + j + kLanes * v, tile.v[r][v]);
      }
    }
    decay_rows(w, i);
  }
}

// delta of tokens [i, i + kRows) in a tile of columns, of which k S is in `tile`: beta (v - grow k
// S), less what the tokens before have told already, one after the other within the tile.
inline void solve(const DeltaRuleArgs& a, const Work& w, const float* v, int64_t tokens,
                  int64_t cols, int64_t i, Tile<kRows, kVecs>& tile, float* delta) {
  for (int r = 0; r < kRows; ++r) {
    const Vec grow = each(w.grow[i + r]), beta = each(w.beta[i + r]);
    for (int c = 0; c < kVecs; ++c) {
      const int64_t left = cols - kLanes * c;
      const Vec value = i + r < tokens && left > 0
                            ? load_left(v + (i + r) * a.qkv_stride + kLanes * c, left)
                            : each(0);
      tile.v[r][c] = times(beta, subtract_from(grow, tile.v[r][c], value));
    }
  }
  const float* rows[kRows];
  rows_from(w.mix + i * kDeltaChunk, kDeltaChunk, rows);
  multiply(rows, delta, kStrip, i, tile);
  for (int r = 1; r < kRows; ++r)
    for (int s = 0; s < r; ++s) {
      const Vec by = each(w.mix[(i + r) * kDeltaChunk + i + s]);
      for (int c = 0; c < kVecs; ++c) tile.v[r][c] = multiply_add(by, tile.v[s][c], tile.v[r][c]);
    }
  for (int r = 0; r < kRows; ++r)
    for (int c = 0; c < kVecs; ++c) store(delta + (i + r) * kStrip + kLanes * c, tile.v[r][c]);
}

// Of q S, what is left of S at tokens [i, i + kRows).
inline void decay(const Work& w, int64_t i, Tile<kRows, kVecs>& tile) {
  for (int r = 0; r < kRows; ++r)
    for (int c = 0; c < kVecs; ++c) tile.v[r][c] = times(each(w.grow[i + r]), tile.v[r][c]);
}

inline void answer(const DeltaRuleArgs& a, const Tile<kRows, kVecs>& tile, int64_t tokens,
                   int64_t cols, int64_t i, float* y) {
  for (int r = 0; r < kRows && i + r < tokens; ++r)
    for (int c = 0; c < kVecs; ++c)
      if (const int64_t left = cols - kLanes * c; left > 0)
        store_left(y + (i + r) * a.y_stride + kLanes * c, left, tile.v[r][c]);
}

// The state of a tile of columns at the chunk's end.
inline void carry(const Work& w, float* state, int64_t stride, int64_t padded) {
  for (int64_t i = 0; i < padded; ++i)
    for (int64_t c = 0; c < kTileCols; c += kLanes)
      store(w.late + i * kStrip + c, times(each(w.left[i]), load(w.delta + i * kStrip + c)));
  const Vec decay = each(w.grow[kDeltaChunk - 1]);
  for (int64_t n = 0; n < w.keys; n += kRows) {
    const float* rows[kRows];
    rows_from(w.kt + n * kDeltaChunk, kDeltaChunk, rows);
    Tile<kRows, kVecs> tile;
    for (int r = 0; r < kRows; ++r)
      for (int c = 0; c < kVecs; ++c)
        tile.v[r][c] = times(decay, load(state + (n + r) * stride + kLanes * c));
    multiply(rows, w.late, kStrip, padded, tile);
    for (int r = 0; r < kRows; ++r)
      for (int c = 0; c < kVecs; ++c) store(state + (n + r) * stride + kLanes * c, tile.v[r][c]);
  }
}

// The chunk's tokens of one head: a tile of columns after the other, each through all of it while
// its state is near.
inline void chunk(const DeltaRuleArgs& a, const Work& w, float* state, int64_t stride,
                  int64_t first, int64_t tokens, int64_t h) {
  const int64_t padded = (tokens + kRows - 1) / kRows * kRows;
  gather(a, w, first, tokens, padded, h);
  transpose_keys(w, padded);
  triangles(w, padded);
  for (int64_t p = 0; p < a.v_dim; p += kTileCols) {
    const float* v = a.v + first * a.qkv_stride + h * a.v_dim + p;
    float* y = a.y + first * a.y_stride + h * a.v_dim + p;
    for (int64_t i = 0; i < padded; i += kRows) {
      const float* rows[kRows];
      rows_from(w.k + i * w.keys, w.keys, rows);
      Tile<kRows, kVecs> told = zeros();
      multiply(rows, state + p, stride, w.keys, told);
      solve(a, w, v, tokens, a.v_dim - p, i, told, w.delta);
      // y: grow q S, and what the chunk's own tokens add.
      rows_from(w.q + i * w.keys, w.keys, rows);
      Tile<kRows, kVecs> asked = zeros();
      multiply(rows, state + p, stride, w.keys, asked);
      decay(w, i, asked);
      rows_from(w.seen + i * kDeltaChunk, kDeltaChunk, rows);
      multiply(rows, w.delta, kStrip, i + kRows, asked);
      answer(a, asked, tokens, a.v_dim - p, i, y);
    }
    carry(w, state + p, stride, padded);
  }
}

// A state whose sizes do not fill tiles, to one that does and back.
inline void widen(const DeltaRuleArgs& a, const Work& w, const float* state, int64_t stride) {
  for (int64_t n = 0; n < w.keys; ++n)
    for (int64_t p = 0; p < stride; ++p)
      w.state[n * stride + p] = n < a.k_dim && p < a.v_dim ? state[n * a.v_dim + p] : 0;
}
inline void narrow(const DeltaRuleArgs& a, const Work& w, float* state, int64_t stride) {
  for (int64_t n = 0; n < a.k_dim; ++n)
    for (int64_t p = 0; p < a.v_dim; ++p) state[n * a.v_dim + p] = w.state[n * stride + p];
}

// `through` goes through a chunk, as chunk() does.
template <class Through>
inline void scan_head(const DeltaRuleArgs& a, const Work& w, int64_t h, const Through& through) {
  float* own = a.state + h * a.k_dim * a.v_dim;
  const int64_t stride = (a.v_dim + kStrip - 1) / kStrip * kStrip;
  const bool fills = stride == a.v_dim && w.keys == a.k_dim;
  for (int64_t t = 0; t < a.tokens;) {
    const int64_t to_end = kDeltaChunk - (a.position + t) % kDeltaChunk;
    const int64_t tokens = a.by_channel ? 1 : to_end < a.tokens - t ? to_end : a.tokens - t;
    if (tokens == 1) {
      step(a, w, t, h);
    } else if (fills) {
      through(w, own, stride, t, tokens, h);
    } else {
      widen(a, w, own, stride);
      through(w, w.state, stride, t, tokens, h);
      narrow(a, w, own, stride);
    }
    t += tokens;
  }
}

inline void scan(const DeltaRuleArgs& a) {
  const Work w = work_of(a);
  for (int64_t h = a.head_begin; h < a.head_end; ++h)
    scan_head(a, w, h,
              [&](const Work& work, float* state, int64_t stride, int64_t first, int64_t tokens,
                  int64_t head) { chunk(a, work, state, stride, first, tokens, head); });
}

}  // namespace
}  // namespace klens::cpu
