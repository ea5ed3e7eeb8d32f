// For attention_<isa>.cpp only, after vec_<isa>.h, in whose words it is written: what variants
// share whose products differ. Internal linkage throughout.
//
// Block after block of keys, the block of each KV head meets the tile's rows (a token and a query
// head), six rows at a time. A key that a row does not see adds an exact zero to sums that are no
// negative zero, so what else is in the tile, and which blocks are left out, does not show in the
// bits.
#pragma once
#include "kernels/cpu/attention/attention_blocks.h"
#include "kernels/cpu/attention/kv_simd.h"
#include "kernels/cpu/tile_simd.h"

namespace klens::cpu {
namespace {

constexpr int kRows = 6;

inline int64_t up(int64_t n) { return (n + kLanes - 1) / kLanes * kLanes; }

// What a tile's rows have so far. Rows of sums are padded to whole vectors with zeros.
struct Sums {
  float* sum;    // [rows][up(v_dim)]: of e^(score - max) times values
  float* max;    // [rows]: greatest score
  float* total;  // [rows]: sum of e^(score - max)
};

inline Sums sums_at(float* work, const AttentionArgs& a, int64_t rows) {
  Sums s;
  s.sum = work;
  s.max = s.sum + rows * up(a.v_dim);
  s.total = s.max + rows;
  return s;
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
    if (limit != nullptr) v = lesser(v, load(limit + kLanes * i));
    store(score + kLanes * i, v);
    greatest = greater(greatest, v);
  }
  const float before = max, here = greatest_of(greatest);
  max = here > before ? here : before;
  fall = before - max;
}

// Without branches, and in 32 bits, it is a few vectors.
inline void limits(const Sight& s, float* limit) {
  const auto first = static_cast<int32_t>(s.first), last = static_cast<int32_t>(s.last);
  const auto pinned = static_cast<int32_t>(s.pinned);
  for (int32_t i = 0; i < static_cast<int32_t>(kKeys); ++i)
    limit[i] = (i <= last) & ((i >= first) | (i < pinned)) ? __builtin_inff() : -__builtin_inff();
}

// ---- A block of keys and values

// Rows of kLanes keys for one KV head. Those that are not there have the row of another: no query
// sees them.
struct KeyRows {
  const uint8_t* k[kLanes];
  const uint8_t* v[kLanes];
  float scale[kLanes];     // of keys
  int64_t next_k, next_v;  // from each row to what is read after this block
};

template <class T>
inline KeyRows key_rows(const AttentionArgs& a, const Queries& tile, const Block& block,
                        int64_t head, int64_t i) {
  KeyRows rows;
  for (int64_t j = 0; j < kLanes; ++j) {
    const int64_t key = block.k[i + j] == nullptr ? block.end - 1 : i + j;
    rows.k[j] = block.k[key] + head * a.k_dim * T::kBytes;
    rows.v[j] = block.v[key] + head * a.v_dim * T::kBytes;
    rows.scale[j] = T::kScaled ? block.k_scale[key][head] : 1.0f;
  }
  rows.next_k = ahead<T>(a, tile, head, a.k_dim);
  rows.next_v = ahead<T>(a, tile, head, a.v_dim);
  return rows;
}

// Rows are too far apart for hardware to see them coming, so what comes next, values included, is
// asked for on the way: while elements from d on are read. GCC drops calls of a function that only
// prefetches, so this is none.
template <class T>
inline __attribute__((always_inline)) void ask_ahead(const KeyRows& rows, int64_t d,
                                                     int64_t count) {
  for (int64_t at = (d * T::kBytes + 63) / 64 * 64; at < (d + count) * T::kBytes; at += 64)
    for (int64_t j = 0; j < kLanes; ++j) {
      _mm_prefetch(reinterpret_cast<const char*>(rows.k[j] + at + rows.next_k), _MM_HINT_T1);
      _mm_prefetch(reinterpret_cast<const char*>(rows.v[j] + at + rows.next_v), _MM_HINT_T1);
    }
}

// sum = sum * factor + weights * values, for V registers of columns at a time while so many are
// left.
template <int R, int V, class Element>
inline void add_values(const Element* const (&weights)[R], const float* factor,
                       const Element* values, int64_t count, float* sum, int64_t cols, int64_t c) {
  for (; c + kLanes * V <= cols; c += kLanes * V) {
    Tile<R, V> tile;
    for (int r = 0; r < R; ++r)
      for (int v = 0; v < V; ++v)
        tile.v[r][v] = times(load(sum + r * cols + c + kLanes * v), each(factor[r]));
    multiply(weights, values + c, cols, count, tile);
    for (int r = 0; r < R; ++r)
      for (int v = 0; v < V; ++v) store(sum + r * cols + c + kLanes * v, tile.v[r][v]);
  }
  if constexpr (V > 1) add_values<R, V / 2>(weights, factor, values, count, sum, cols, c);
}

// R rows of the tile meet a block. `products` says of what they are made:
//   Element, kElements  what is multiplied, and how many numbers one holds
//   depth, k, v         elements of a query; [depth][kKeys] keys; [kKeys / kElements][up(v_dim)]
//   query(token, head)  [depth], the token in the tile, the head of the KV head
//   score, weight       [R][kKeys], [R][kKeys / kElements]; the same or not
//   weigh(score, max, weight)  makes e^(score - max) of a row and returns the sum
template <int R, class Products>
inline void attend_rows(const AttentionArgs& a, const Queries& tile, const Block& block,
                        int64_t kv_head, int64_t row, const Products& products, const Sums& sums) {
  // Eight registers of sums or more, as many as there are.
  constexpr int kV = kLanes == 16 ? 4 : R == 1 ? 8 : R <= 3 ? 4 : 2;
  constexpr int kS = kLanes == 16 && R == kRows ? 2 : kV;  // of scores: fewer that nobody sees
  constexpr int64_t kElements = Products::kElements;
  const typename Products::Element* q[R];
  Sight sights[R];
  int64_t end = 0;
  bool any = false;
  int64_t t = row / tile.group, head = row % tile.group;
  for (int r = 0; r < R; ++r) {
    q[r] = products.query(t, head);
    sights[r] = sight(a, block, tile.first + t);
    if (++head == tile.group) {
      head = 0;
      ++t;
    }
    any = any || !sights[r].none();
    end = most(end, least(sights[r].last + 1, block.end));
  }
  if (!any) return;
  float(*score)[kKeys] = products.score;
  for (int64_t i = block.begin / (kLanes * kS) * (kLanes * kS); i < end; i += kLanes * kS) {
    Tile<R, kS> scores = {};
    multiply(q, products.k + i, kKeys, products.depth, scores);
    for (int r = 0; r < R; ++r)
      for (int v = 0; v < kS; ++v) store(score[r] + i + kLanes * v, scores.v[r][v]);
  }
  const int64_t at = (kv_head - tile.kv_begin) * tile.rows() + row;
  float factor[kLanes] = {};
  Vec scale[kKeys / kLanes];
  for (Vec& s : scale) s = each(a.scale);
  for (int r = 0; r < R; ++r) {
    if (sights[r].none()) continue;
    float limit[kKeys];
    if (!sights[r].all()) limits(sights[r], limit);
    begin_softmax(score[r], scale, sights[r].all() ? nullptr : limit, sums.max[at + r], factor[r]);
  }
  store(factor, exp_negative(load(factor)));
  const int64_t begin = block.begin / kElements;
  const typename Products::Element* weights[R];
  for (int r = 0; r < R; ++r) {
    weights[r] = products.weight[r] + begin;
    if (sights[r].none()) {
      for (int64_t i = 0; i < kKeys / kElements; ++i) products.weight[r][i] = 0;
    } else {
      sums.total[at + r] = sums.total[at + r] * factor[r] +
                           products.weigh(score[r], sums.max[at + r], products.weight[r]);
    }
  }
  const int64_t cols = up(a.v_dim);
  add_values<R, kV>(weights, factor, products.v + begin * cols,
                    (end + kElements - 1) / kElements - begin, sums.sum + at * cols, cols, 0);
}

// The last rows of a tile, fewer than kRows.
template <int R = kRows - 1, class Products>
inline void attend_rest(const AttentionArgs& a, const Queries& tile, const Block& block,
                        int64_t kv_head, int64_t row, const Products& products, const Sums& sums) {
  if (tile.rows() - row == R) {
    attend_rows<R>(a, tile, block, kv_head, row, products, sums);
  } else if constexpr (R > 1) {
    attend_rest<R - 1>(a, tile, block, kv_head, row, products, sums);
  }
}

template <class Products>
inline void attend_block(const AttentionArgs& a, const Queries& tile, const Block& block,
                         int64_t kv_head, const Products& products, const Sums& sums) {
  int64_t row = 0;
  for (; row + kRows <= tile.rows(); row += kRows)
    attend_rows<kRows>(a, tile, block, kv_head, row, products, sums);
  attend_rest(a, tile, block, kv_head, row, products, sums);
}

// ---- Tiles

inline void begin_tile(const AttentionArgs& a, const Queries& tile, const Sums& sums) {
  const int64_t rows = (tile.kv_end - tile.kv_begin) * tile.rows();
  for (int64_t i = 0; i < rows * up(a.v_dim); i += kLanes) store(sums.sum + i, each(0));
  for (int64_t r = 0; r < rows; ++r) {
    sums.max[r] = -__builtin_inff();
    sums.total[r] = 0;
  }
}

// y = sum / total, 0 where nothing was seen. Adding zero makes every zero positive: the sign of one
// would tell of the blocks that were left out.
inline void end_tile(const AttentionArgs& a, const Queries& tile, const Sums& sums) {
  const int64_t rows = (tile.kv_end - tile.kv_begin) * tile.rows(), cols = up(a.v_dim);
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t kv_head = tile.kv_begin + r / tile.rows(), t = r % tile.rows() / tile.group;
    const int64_t head = kv_head * tile.group + r % tile.group;
    float* y = a.y + (tile.token + t) * a.y_stride + head * a.v_dim;
    const Vec total = each(sums.total[r] == 0 ? 1 : sums.total[r]);
    for (int64_t c = 0; c < cols; c += kLanes)
      store_left(y + c, a.v_dim - c, add(divide(load(sums.sum + r * cols + c), total), each(0)));
    if (a.part == nullptr) continue;
    AttentionPart& part = a.part[(tile.token + t) * a.heads + head];
    part.max = sums.max[r];
    part.total = sums.total[r];
  }
}

// meet(block, KV head) for every block that some query of the tile sees.
template <class T, class Meet>
inline void attend_tile(const AttentionArgs& a, const Queries& tile, const Sums& sums,
                        const Meet& meet) {
  begin_tile(a, tile, sums);
  const int64_t window = most(tile.first - a.reach, 0) / kKeys * kKeys;
  int64_t segment = 0;
  for (int64_t base = a.key_begin; base <= tile.last && base < a.key_end; base += kKeys) {
    if (base >= a.pinned && base < window) base = window;
    if (base >= a.key_end) break;
    Block block;
    block.base = base;
    find_rows<T>(a, tile, segment, block);
    if (block.begin >= block.end) continue;
    for (int64_t head = tile.kv_begin; head < tile.kv_end; ++head) meet(block, head);
  }
  end_tile(a, tile, sums);
}

// Rows of a tile: at least those of one token.
inline int64_t tile_rows(const AttentionArgs& a) { return most(kTileRows, a.heads / a.kv_heads); }

// attend(tile) for all of the call.
template <class Attend>
inline void over_tiles(const AttentionArgs& a, const Attend& attend) {
  const int64_t group = a.heads / a.kv_heads;
  const int64_t tokens = most(1, least(a.tokens, kTileRows / group));
  const int64_t kv_heads = most(1, kTileRows / (tokens * group));
  for (int64_t t = 0; t < a.tokens; t += tokens)
    for (int64_t head = a.kv_head_begin; head < a.kv_head_end; head += kv_heads) {
      const int64_t count = least(tokens, a.tokens - t), first = a.position + t;
      attend(Queries{t, count, head, least(head + kv_heads, a.kv_head_end), group, first,
                     first + count - 1});
    }
}

// attend.operator()<T>() with the type of the cache.
template <class Attend>
inline void with_type(KvType type, const Attend& attend) {
  switch (type) {
    case KvType::kF32:
      return attend.template operator()<KvF32>();
    case KvType::kF16:
      return attend.template operator()<KvF16>();
    case KvType::kI8:
      return attend.template operator()<KvI8>();
  }
}

}  // namespace
}  // namespace klens::cpu
