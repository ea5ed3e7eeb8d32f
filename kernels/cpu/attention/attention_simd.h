// For attention_<isa>.cpp only, after vec_<isa>.h, in whose words it is written. Internal linkage
// throughout.
//
// Many rows: keys and values are converted to floats once, and meet six rows at a time. Few rows,
// that is decoding: bound by reading the cache, so values are converted on their way into the sums.
#pragma once
#include "kernels/cpu/attention/attention_tiles.h"

namespace klens::cpu {
namespace {

constexpr int64_t kFewRows = kLanes == 16 ? 8 : 4;  // of one token, up to here

// The pieces of args.work; attention_work() counts them. Rows of values are padded to whole vectors
// with zeros.
struct Work {
  float* k;  // many rows: [up(k_dim)][kKeys], transposed; few: [kKeys][up(k_dim)]
  float* v;  // [kKeys][up(v_dim)]
  Sums sums;
};

inline Work pieces(const AttentionArgs& a) {
  Work w;
  w.k = a.work;
  w.v = w.k + up(a.k_dim) * kKeys;
  w.sums = sums_at(w.v + kKeys * up(a.v_dim), a, tile_rows(a));
  return w;
}

inline float end_softmax(float* score, float max) {
  Vec sum = each(0);
  for (int64_t i = 0; i < kKeys / kLanes; ++i) {
    const Vec e = exp_negative(subtract(load(score + kLanes * i), each(max)));
    store(score + kLanes * i, e);
    sum = add(sum, e);
  }
  return sum_of(sum);
}

// ---- Many rows

// Columns of keys that are not there stay as they were: no query sees them.
template <class T>
inline void convert_keys(const AttentionArgs& a, const Queries& tile, const Block& block,
                         int64_t head, float* k) {
  for (int64_t i = block.begin / kLanes * kLanes; i < block.end; i += kLanes) {
    const KeyRows rows = key_rows<T>(a, tile, block, head, i);
    for (int64_t d = 0; d < a.k_dim; d += kLanes) {
      Vec v[kLanes];
      for (int64_t j = 0; j < kLanes; ++j) {
        v[j] = load_row<T>(rows.k[j] + d * T::kBytes, a.k_dim - d);
        if (T::kScaled) v[j] = times(v[j], each(rows.scale[j]));
      }
      transpose(v);
      for (int64_t j = 0; j < kLanes; ++j) store(k + (d + j) * kKeys + i, v[j]);
      ask_ahead<T>(rows, d, kLanes);
    }
  }
}

template <class T>
inline void convert_values(const AttentionArgs& a, const Block& block, int64_t head, float* v) {
  for (int64_t i = block.begin; i < block.end; ++i) {
    float* to = v + i * up(a.v_dim);
    if (block.v[i] == nullptr) {
      for (int64_t d = 0; d < a.v_dim; d += kLanes) store(to + d, each(0));
      continue;
    }
    const uint8_t* from = block.v[i] + head * a.v_dim * T::kBytes;
    const Vec scale = each(T::kScaled ? block.v_scale[i][head] : 1.0f);
    for (int64_t d = 0; d < a.v_dim; d += kLanes) {
      const Vec e = load_row<T>(from + d * T::kBytes, a.v_dim - d);
      store(to + d, T::kScaled ? times(e, scale) : e);
    }
  }
}

// What attend_rows() multiplies.
struct Floats {
  using Element = float;
  static constexpr int64_t kElements = 1;
  const AttentionArgs& a;
  const float* first;  // query of the tile and the KV head
  int64_t depth;
  const float *k, *v;
  float (*score)[kKeys];
  float (*weight)[kKeys];
  const float* query(int64_t token, int64_t head) const {
    return first + token * a.q_stride + head * a.k_dim;
  }
  float weigh(float* row, float max, float*) const { return end_softmax(row, max); }
};

template <class T>
inline void attend_many(const AttentionArgs& a, const Queries& tile, const Block& block,
                        int64_t head, const Work& w) {
  alignas(64) float score[kRows][kKeys] = {};
  convert_keys<T>(a, tile, block, head, w.k);
  convert_values<T>(a, block, head, w.v);
  const float* q = a.q + tile.token * a.q_stride + head * tile.group * a.k_dim;
  attend_block(a, tile, block, head, Floats{a, q, a.k_dim, w.k, w.v, score, score}, w.sums);
}

// ---- Few rows

// One KV head's part of a block. Keys that are not there have the row of another, and are unseen.
struct Few {
  const uint8_t* k[kKeys];
  const uint8_t* v[kKeys];
  float k_scale[kKeys], v_scale[kKeys], limit[kKeys];
  int64_t begin, end;      // keys of the block
  int64_t next_k, next_v;  // from each row to what is read after this block
};

template <class T>
inline void gather(const AttentionArgs& a, const Queries& tile, const Block& block, int64_t head,
                   Few& few) {
  few.begin = block.begin;
  few.end = block.end;
  few.next_k = ahead<T>(a, tile, head, a.k_dim);
  few.next_v = ahead<T>(a, tile, head, a.v_dim);
  for (int64_t i = 0; i < kKeys; ++i) {
    const int64_t key = block.k[i] == nullptr ? block.end - 1 : i;
    few.k[i] = block.k[key] + head * a.k_dim * T::kBytes;
    few.v[i] = block.v[key] + head * a.v_dim * T::kBytes;
    few.limit[i] = block.k[i] == nullptr ? -__builtin_inff() : __builtin_inff();
    few.k_scale[i] = a.scale * (T::kScaled ? block.k_scale[key][head] : 1.0f);
    if (T::kScaled) few.v_scale[i] = block.v_scale[key][head];
  }
}

// GCC drops calls of a function that only prefetches, so this is none.
inline __attribute__((always_inline)) void ask_for(const uint8_t* row, int64_t bytes) {
  for (int64_t at = 0; at < bytes; at += 64)
    _mm_prefetch(reinterpret_cast<const char*>(row + at), _MM_HINT_T1);
}

// Keys as floats; few.k then tells where.
template <class T>
inline void spread_keys(int64_t k_dim, Few& few, float* k) {
  const bool in_place = T::kBytes == 4 && k_dim % kLanes == 0;
  for (int64_t i = few.begin / kLanes * kLanes; i < up(few.end); ++i) {
    ask_for(few.k[i] + few.next_k, k_dim * T::kBytes);
    if (in_place) continue;
    float* to = k + i * up(k_dim);
    for (int64_t d = 0; d < k_dim; d += kLanes)
      store(to + d, load_row<T>(few.k[i] + d * T::kBytes, k_dim - d));
    few.k[i] = reinterpret_cast<const uint8_t*>(to);
  }
}

// A register of sums per key.
inline void score_keys(const float* q, int64_t k_dim, const Few& few, float* score) {
  for (int64_t i = few.begin / kLanes * kLanes; i < few.end; i += kLanes) {
    Vec sums[kLanes];
    for (Vec& s : sums) s = each(0);
    for (int64_t d = 0; d < k_dim; d += kLanes) {
      const Vec part = load_left(q + d, k_dim - d);
      for (int64_t j = 0; j < kLanes; ++j)
        sums[j] =
            multiply_add(part, load(reinterpret_cast<const float*>(few.k[i + j]) + d), sums[j]);
    }
    store(score + i, sums_of(sums));
  }
}

// sum = sum * factor + scores * values, as add_values, converting values on the way.
template <class T, int R, int V>
inline void add_few(const float (*score)[kKeys], const float* factor, const Few& few, int64_t v_dim,
                    float* sum, int64_t c) {
  const int64_t cols = up(v_dim);
  for (; c + kLanes * V <= (V == 1 ? cols : v_dim); c += kLanes * V) {
    Tile<R, V> tile;
    for (int r = 0; r < R; ++r)
      for (int v = 0; v < V; ++v)
        tile.v[r][v] = times(load(sum + r * cols + c + kLanes * v), each(factor[r]));
    for (int64_t i = few.begin; i < few.end; ++i) {
      if (c == 0) ask_for(few.v[i] + few.next_v, v_dim * T::kBytes);
      Vec value[V];
      for (int v = 0; v < V; ++v) {
        const uint8_t* from = few.v[i] + (c + kLanes * v) * T::kBytes;
        value[v] = V == 1 ? load_row<T>(from, v_dim - c) : T::load(from);
      }
      for (int r = 0; r < R; ++r) {
        const Vec s = each(score[r][i]);
        for (int v = 0; v < V; ++v) tile.v[r][v] = multiply_add(s, value[v], tile.v[r][v]);
      }
    }
    for (int r = 0; r < R; ++r)
      for (int v = 0; v < V; ++v) store(sum + r * cols + c + kLanes * v, tile.v[r][v]);
  }
  if constexpr (V > 1) add_few<T, R, V / 2>(score, factor, few, v_dim, sum, c);
}

template <class T, int R = kFewRows>
inline void add_few(int64_t rows, const float (*score)[kKeys], const float* factor, const Few& few,
                    int64_t v_dim, float* sum) {
  // Sums, values and a score: no more than there are registers.
  constexpr int kV = kLanes == 16 ? (R <= 2 ? 8 : R <= 6 ? 4 : 2) : (R <= 1 ? 4 : R <= 6 ? 2 : 1);
  if (rows == R) {
    add_few<T, R, kV>(score, factor, few, v_dim, sum, 0);
  } else if constexpr (R > 1) {
    add_few<T, R - 1>(rows, score, factor, few, v_dim, sum);
  }
}

template <class T>
inline void attend_few(const AttentionArgs& a, const Queries& tile, const Block& block,
                       int64_t head, const Work& w) {
  alignas(64) float score[kFewRows][kKeys] = {};
  Few few;
  gather<T>(a, tile, block, head, few);
  spread_keys<T>(a.k_dim, few, w.k);
  Vec scale[kKeys / kLanes];
  for (int64_t i = 0; i < kKeys / kLanes; ++i) scale[i] = load(few.k_scale + kLanes * i);
  const int64_t at = (head - tile.kv_begin) * tile.group;
  float factor[kLanes] = {};
  for (int64_t r = 0; r < tile.group; ++r) {
    const float* q = a.q + tile.token * a.q_stride + (head * tile.group + r) * a.k_dim;
    score_keys(q, a.k_dim, few, score[r]);
    begin_softmax(score[r], scale, few.limit, w.sums.max[at + r], factor[r]);
  }
  store(factor, exp_negative(load(factor)));
  for (int64_t r = 0; r < tile.group; ++r) {
    const float sum = end_softmax(score[r], w.sums.max[at + r]);
    w.sums.total[at + r] = w.sums.total[at + r] * factor[r] + sum;
    if (T::kScaled)
      for (int64_t i = 0; i < kKeys; i += kLanes)
        store(score[r] + i, times(load(score[r] + i), load(few.v_scale + i)));
  }
  add_few<T>(tile.group, score, factor, few, a.v_dim, w.sums.sum + at * up(a.v_dim));
}

template <class T>
inline void attend(const AttentionArgs& a) {
  const Work w = pieces(a);
  over_tiles(a, [&](const Queries& tile) {
    const bool few = a.tokens == 1 && tile.group <= kFewRows;
    attend_tile<T>(a, tile, w.sums, [&](const Block& block, int64_t head) {
      if (few) {
        attend_few<T>(a, tile, block, head, w);
      } else {
        attend_many<T>(a, tile, block, head, w);
      }
    });
  });
}

inline void attend(const AttentionArgs& a) {
  with_type(a.type, [&]<class T>() { attend<T>(a); });
}

}  // namespace
}  // namespace klens::cpu
