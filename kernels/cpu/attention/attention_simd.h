// For attention_<isa>.cpp only, after kv_<isa>.h, with whose vectors it computes: one source for
// all of them, compiled with the flags of each. Internal linkage throughout.
//
// Block after block of keys, the block of each KV head meets the tile's rows (a token and a query
// head). Many rows: keys and values are converted to floats once, and meet six rows at a time. Few
// rows, that is decoding: bound by reading the cache, so values are converted on their way into the
// sums. A key that a row does not see adds an exact zero to sums that are no negative zero, so what
// else is in the tile, and which blocks are left out, does not show in the bits.
#pragma once
#include "kernels/cpu/attention/attention_blocks.h"

namespace klens::cpu {
namespace {

constexpr int kRows = 6;
constexpr int64_t kFewRows = kLanes == 16 ? 8 : 4;  // of one token, up to here

inline int64_t up(int64_t n) { return (n + kLanes - 1) / kLanes * kLanes; }

// The pieces of args.work; attention_work() counts them. Rows of values and sums are padded to
// whole vectors with zeros.
struct Work {
  float* k;      // many rows: [up(k_dim)][kKeys], transposed; few: [kKeys][up(k_dim)]
  float* v;      // [kKeys][up(v_dim)]
  float* sum;    // [rows][up(v_dim)]: of e^(score - max) times values
  float* max;    // [rows]: greatest score so far
  float* total;  // [rows]: sum of e^(score - max)
};

inline Work pieces(const AttentionArgs& a, int64_t rows) {
  Work w;
  w.k = a.work;
  w.v = w.k + up(a.k_dim) * kKeys;
  w.sum = w.v + kKeys * up(a.v_dim);
  w.max = w.sum + rows * up(a.v_dim);
  w.total = w.max + rows;
  return w;
}

// ---- Softmax

// Scores become e^(score - max) in two steps, so that the rows' chains of instructions overlap.
// Here they are scaled, and what is not seen goes to minus infinity, whatever it was: the limit of
// a key is infinity of either sign.
inline void begin_softmax(float* score, const Vec (&scale)[kKeys / kLanes], const float* limit,
                          float& max, float& fall) {
  Vec greatest = each(-__builtin_inff());
  for (int64_t i = 0; i < kKeys / kLanes; ++i) {
    Vec v = times(load(score + kLanes * i), scale[i]);
    if (limit != nullptr) v = limited(v, load(limit + kLanes * i));
    store(score + kLanes * i, v);
    greatest = greater(greatest, v);
  }
  const float before = max, here = greatest_of(greatest);
  max = here > before ? here : before;
  fall = before - max;
}

inline void end_softmax(float* score, float max, float factor, float& total) {
  Vec sum = each(0);
  for (int64_t i = 0; i < kKeys / kLanes; ++i) {
    const Vec e = exp_negative(subtract(load(score + kLanes * i), each(max)));
    store(score + kLanes * i, e);
    sum = add(sum, e);
  }
  total = total * factor + sum_of(sum);
}

// ---- Many rows

// Columns of keys that are not there stay as they were: no query sees them. Rows are too far apart
// for hardware to see them coming, so what comes next, values included, is asked for on the way.
template <class T>
inline void convert_keys(const AttentionArgs& a, const Queries& tile, const Block& block,
                         int64_t head, float* k) {
  const int64_t next_k = ahead<T>(a, tile, head, a.k_dim);
  const int64_t next_v = ahead<T>(a, tile, head, a.v_dim);
  for (int64_t i = block.begin / kLanes * kLanes; i < block.end; i += kLanes) {
    const uint8_t* row[kLanes];
    const uint8_t* value[kLanes];
    float scale[kLanes];
    for (int64_t j = 0; j < kLanes; ++j) {
      const int64_t key = block.k[i + j] == nullptr ? block.end - 1 : i + j;
      row[j] = block.k[key] + head * a.k_dim * T::kBytes;
      value[j] = block.v[key] + head * a.v_dim * T::kBytes;
      scale[j] = T::kScaled ? block.k_scale[key][head] : 1.0f;
    }
    for (int64_t d = 0; d < a.k_dim; d += kLanes) {
      const int64_t at = d * T::kBytes;
      Vec v[kLanes];
      for (int64_t j = 0; j < kLanes; ++j) {
        v[j] = load_row<T>(row[j] + at, a.k_dim - d);
        if (T::kScaled) v[j] = times(v[j], each(scale[j]));
      }
      transpose(v);
      for (int64_t j = 0; j < kLanes; ++j) store(k + (d + j) * kKeys + i, v[j]);
      if (at % 64 != 0) continue;
      for (int64_t j = 0; j < kLanes; ++j) {
        _mm_prefetch(reinterpret_cast<const char*>(row[j] + at + next_k), _MM_HINT_T1);
        _mm_prefetch(reinterpret_cast<const char*>(value[j] + at + next_v), _MM_HINT_T1);
      }
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

// sum = sum * factor + scores * values, for V registers of columns at a time while so many are
// left.
template <int R, int V>
inline void add_values(const float* const (&scores)[R], const float* factor, const float* values,
                       int64_t keys, float* sum, int64_t cols, int64_t c) {
  for (; c + kLanes * V <= cols; c += kLanes * V) {
    Tile<R, V> tile;
    for (int r = 0; r < R; ++r)
      for (int v = 0; v < V; ++v)
        tile.v[r][v] = times(load(sum + r * cols + c + kLanes * v), each(factor[r]));
    multiply(scores, values + c, cols, keys, tile);
    for (int r = 0; r < R; ++r)
      for (int v = 0; v < V; ++v) store(sum + r * cols + c + kLanes * v, tile.v[r][v]);
  }
  if constexpr (V > 1) add_values<R, V / 2>(scores, factor, values, keys, sum, cols, c);
}

inline void limits(const Sight& s, float* limit) {
  for (int64_t i = 0; i < kKeys; ++i) limit[i] = s.sees(i) ? __builtin_inff() : -__builtin_inff();
}

// R rows of the tile meet a block.
template <int R>
inline void attend_rows(const AttentionArgs& a, const Queries& tile, const Block& block,
                        int64_t kv_head, int64_t row, float (*score)[kKeys], const Work& w) {
  // Eight registers of sums or more, as many as there are.
  constexpr int kV = kLanes == 16 ? 4 : R == 1 ? 8 : R <= 3 ? 4 : 2;
  const float* q[R];
  Sight sights[R];
  int64_t end = 0;
  bool any = false;
  int64_t t = row / tile.group, head = row % tile.group;
  for (int r = 0; r < R; ++r) {
    q[r] = a.q + (tile.token + t) * a.q_stride + (kv_head * tile.group + head) * a.k_dim;
    sights[r] = sight(a, block, tile.first + t);
    if (++head == tile.group) {
      head = 0;
      ++t;
    }
    any = any || !sights[r].none();
    end = most(end, least(sights[r].last + 1, block.end));
  }
  if (!any) return;
  for (int64_t i = block.begin / (kLanes * kV) * (kLanes * kV); i < end; i += kLanes * kV) {
    Tile<R, kV> sums = {};
    multiply(q, w.k + i, kKeys, a.k_dim, sums);
    for (int r = 0; r < R; ++r)
      for (int v = 0; v < kV; ++v) store(score[r] + i + kLanes * v, sums.v[r][v]);
  }
  const int64_t at = (kv_head - tile.kv_begin) * tile.rows() + row;
  float factor[kLanes] = {};
  Vec scale[kKeys / kLanes];
  for (Vec& s : scale) s = each(a.scale);
  for (int r = 0; r < R; ++r) {
    if (sights[r].none()) continue;
    float limit[kKeys];
    if (!sights[r].all()) limits(sights[r], limit);
    begin_softmax(score[r], scale, sights[r].all() ? nullptr : limit, w.max[at + r], factor[r]);
  }
  store(factor, exp_negative(load(factor)));
  const float* rows[R];
  for (int r = 0; r < R; ++r) {
    rows[r] = score[r] + block.begin;
    if (sights[r].none()) {
      for (int64_t i = 0; i < kKeys; ++i) score[r][i] = 0;
    } else {
      end_softmax(score[r], w.max[at + r], factor[r], w.total[at + r]);
    }
  }
  const int64_t cols = up(a.v_dim);
  add_values<R, kV>(rows, factor, w.v + block.begin * cols, end - block.begin, w.sum + at * cols,
                    cols, 0);
}

template <class T>
inline void attend_many(const AttentionArgs& a, const Queries& tile, const Block& block,
                        int64_t head, const Work& w) {
  alignas(64) float score[kRows][kKeys] = {};
  convert_keys<T>(a, tile, block, head, w.k);
  convert_values<T>(a, block, head, w.v);
  int64_t row = 0;
  for (; row + kRows <= tile.rows(); row += kRows)
    attend_rows<kRows>(a, tile, block, head, row, score, w);
  switch (tile.rows() - row) {
    case 5:
      return attend_rows<5>(a, tile, block, head, row, score, w);
    case 4:
      return attend_rows<4>(a, tile, block, head, row, score, w);
    case 3:
      return attend_rows<3>(a, tile, block, head, row, score, w);
    case 2:
      return attend_rows<2>(a, tile, block, head, row, score, w);
    case 1:
      return attend_rows<1>(a, tile, block, head, row, score, w);
  }
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
    begin_softmax(score[r], scale, few.limit, w.max[at + r], factor[r]);
  }
  store(factor, exp_negative(load(factor)));
  for (int64_t r = 0; r < tile.group; ++r) {
    end_softmax(score[r], w.max[at + r], factor[r], w.total[at + r]);
    if (T::kScaled)
      for (int64_t i = 0; i < kKeys; i += kLanes)
        store(score[r] + i, times(load(score[r] + i), load(few.v_scale + i)));
  }
  add_few<T>(tile.group, score, factor, few, a.v_dim, w.sum + at * up(a.v_dim));
}

// ---- Tiles

inline void begin_tile(const AttentionArgs& a, const Queries& tile, const Work& w) {
  const int64_t rows = (tile.kv_end - tile.kv_begin) * tile.rows();
  for (int64_t i = 0; i < rows * up(a.v_dim); i += kLanes) store(w.sum + i, each(0));
  for (int64_t r = 0; r < rows; ++r) {
    w.max[r] = -__builtin_inff();
    w.total[r] = 0;
  }
}

// y = sum / total, 0 where nothing was seen. Adding zero makes every zero positive: the sign of one
// would tell of the blocks that were left out.
inline void end_tile(const AttentionArgs& a, const Queries& tile, const Work& w) {
  const int64_t rows = (tile.kv_end - tile.kv_begin) * tile.rows(), cols = up(a.v_dim);
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t kv_head = tile.kv_begin + r / tile.rows(), t = r % tile.rows() / tile.group;
    const int64_t head = kv_head * tile.group + r % tile.group;
    float* y = a.y + (tile.token + t) * a.y_stride + head * a.v_dim;
    const Vec total = each(w.total[r] == 0 ? 1 : w.total[r]);
    for (int64_t c = 0; c < cols; c += kLanes)
      store_left(y + c, a.v_dim - c, add(divide(load(w.sum + r * cols + c), total), each(0)));
    if (a.part == nullptr) continue;
    AttentionPart& part = a.part[(tile.token + t) * a.heads + head];
    part.max = w.max[r];
    part.total = w.total[r];
  }
}

template <class T>
inline void attend_tile(const AttentionArgs& a, const Queries& tile, const Work& w) {
  begin_tile(a, tile, w);
  const int64_t window = most(tile.first - a.reach, 0) / kKeys * kKeys;
  const bool few = a.tokens == 1 && tile.group <= kFewRows;
  int64_t segment = 0;
  for (int64_t base = a.key_begin; base <= tile.last && base < a.key_end; base += kKeys) {
    if (base >= a.pinned && base < window) base = window;
    if (base >= a.key_end) break;
    Block block;
    block.base = base;
    find_rows<T>(a, tile, segment, block);
    if (block.begin >= block.end) continue;
    for (int64_t head = tile.kv_begin; head < tile.kv_end; ++head) {
      if (few) {
        attend_few<T>(a, tile, block, head, w);
      } else {
        attend_many<T>(a, tile, block, head, w);
      }
    }
  }
  end_tile(a, tile, w);
}

template <class T>
inline void attend(const AttentionArgs& a) {
  const int64_t group = a.heads / a.kv_heads;
  const int64_t tokens = most(1, least(a.tokens, kTileRows / group));
  const int64_t kv_heads = most(1, kTileRows / (tokens * group));
  const Work w = pieces(a, most(kTileRows, group));
  for (int64_t t = 0; t < a.tokens; t += tokens)
    for (int64_t head = a.kv_head_begin; head < a.kv_head_end; head += kv_heads) {
      const int64_t count = least(tokens, a.tokens - t), first = a.position + t;
      attend_tile<T>(
          a,
          {t, count, head, least(head + kv_heads, a.kv_head_end), group, first, first + count - 1},
          w);
    }
}

inline void attend(const AttentionArgs& a) {
  switch (a.type) {
    case KvType::kF32:
      return attend<KvF32>(a);
    case KvType::kF16:
      return attend<KvF16>(a);
    case KvType::kI8:
      return attend<KvI8>(a);
  }
}

}  // namespace
}  // namespace klens::cpu
