// Built with AVX-512's flags and -mavx512bf16. See kernels/README.md for the one rule of such
// files.
#include "kernels/cpu/pairs_avx512bf16.h"
// This one computes with what those before define.
#include "kernels/cpu/attention/attention_tiles.h"

namespace klens::cpu {

Attention attention_avx512, attention_avx512bf16;

namespace {

constexpr int64_t kPairLanes = 2 * kLanes;  // floats that make a vector of pairs

// The pieces of args.work; attention_work() counts them.
struct Work {
  int64_t pairs;  // of a query or key, to whole vectors
  Pair* q;        // [rows][pairs]
  Pair* k;        // [pairs][kKeys]: transposed
  Pair* v;        // [kKeys / 2][up(v_dim)]: of two keys
  Sums sums;
};

inline Work pieces(const AttentionArgs& a) {
  Work w;
  w.pairs = (a.k_dim + kPairLanes - 1) / kPairLanes * kLanes;
  w.q = reinterpret_cast<Pair*>(a.work);
  w.k = w.q + tile_rows(a) * w.pairs;
  w.v = w.k + w.pairs * kKeys;
  w.sums = sums_at(reinterpret_cast<float*>(w.v + kKeys / 2 * up(a.v_dim)), a, tile_rows(a));
  return w;
}

// tile[r] += sum over i < count of rows[r][i] . columns[i]; rows of columns are `stride` apart.
// Each element is one chain of products in the order of i, so the shape of tiles never shows in the
// bits.
template <int R, int V>
inline void multiply(const Pair* const (&rows)[R], const Pair* columns, int64_t stride,
                     int64_t count, Tile<R, V>& tile) {
  Tile<R, V> sums = tile;
  for (int64_t i = 0; i < count; ++i) {
    __m512i column[V];
    for (int v = 0; v < V; ++v) column[v] = _mm512_loadu_si512(columns + i * stride + kLanes * v);
    for (int r = 0; r < R; ++r) {
      const __m512i row = each_pair(rows[r][i]);
      for (int v = 0; v < V; ++v) sums.v[r][v] = multiply_add_pairs(row, column[v], sums.v[r][v]);
    }
  }
  tile = sums;
}

// Rows of a tile as KV head after KV head has them.
inline void pack_queries(const AttentionArgs& a, const Queries& tile, const Work& w) {
  Pair* to = w.q;
  for (int64_t head = tile.kv_begin; head < tile.kv_end; ++head)
    for (int64_t t = 0; t < tile.tokens; ++t)
      for (int64_t j = 0; j < tile.group; ++j, to += w.pairs) {
        const float* q = a.q + (tile.token + t) * a.q_stride + (head * tile.group + j) * a.k_dim;
        for (int64_t d = 0; d < a.k_dim; d += kPairLanes) {
          const int64_t left = a.k_dim - d;
          const Vec second = left > kLanes ? load_left(q + d + kLanes, left - kLanes) : each(0);
          store_row(to + d / 2, load_left(q + d, left), second);
        }
      }
}

// Columns of keys that are not there stay as they were: no query sees them.
template <class T>
inline void pack_keys(const AttentionArgs& a, const Queries& tile, const Block& block, int64_t head,
                      const Work& w) {
  for (int64_t i = block.begin / kLanes * kLanes; i < block.end; i += kLanes) {
    const KeyRows rows = key_rows<T>(a, tile, block, head, i);
    for (int64_t d = 0; d < a.k_dim; d += kPairLanes) {
      const Lanes first = first_lanes(a.k_dim - d);
      const Lanes second = first_lanes(most(a.k_dim - d - kLanes, 0));
      Vec v[kLanes];
      for (int64_t j = 0; j < kLanes; ++j) {
        const uint8_t* from = rows.k[j] + d * T::kBytes;
        Vec low = T::load(from, first), high = T::load(from + kLanes * T::kBytes, second);
        if (T::kScaled) {
          low = times(low, each(rows.scale[j]));
          high = times(high, each(rows.scale[j]));
        }
        v[j] = _mm512_castsi512_ps(row_pairs(low, high));
      }
      transpose(v);
      for (int64_t j = 0; j < kLanes; ++j) _mm512_storeu_ps(w.k + (d / 2 + j) * kKeys + i, v[j]);
      ask_ahead<T>(rows, d, kPairLanes);
    }
  }
}

struct Value {
  const uint8_t* row;
  float scale;
};

// A value that is not there has the row of another: its weight is zero.
template <class T>
inline Value value_at(const AttentionArgs& a, const Block& block, int64_t i, int64_t head) {
  const int64_t key = block.v[i] == nullptr ? block.end - 1 : i;
  return {block.v[key] + head * a.v_dim * T::kBytes, T::kScaled ? block.v_scale[key][head] : 1.0f};
}

template <class T>
inline Vec part_of(const Value& value, int64_t d, Lanes lanes) {
  const Vec v = T::load(value.row + d * T::kBytes, lanes);
  return T::kScaled ? times(v, each(value.scale)) : v;
}

template <class T>
inline void pack_values(const AttentionArgs& a, const Block& block, int64_t head, const Work& w) {
  const int64_t cols = up(a.v_dim);
  for (int64_t i = block.begin / 2 * 2; i < block.end; i += 2) {
    const Value even = value_at<T>(a, block, i, head), odd = value_at<T>(a, block, i + 1, head);
    for (int64_t d = 0; d < a.v_dim; d += kLanes) {
      const Lanes lanes = first_lanes(a.v_dim - d);
      store_columns(w.v + i / 2 * cols + d, part_of<T>(even, d, lanes), part_of<T>(odd, d, lanes));
    }
  }
}

// e^x for x <= 0, or a little above, as far as BF16 resolves it: as exp_negative(), with the
// minimax polynomial of degree 3 for the relative error of 2^r, |r| <= 1/2 (7.5e-5).
inline Vec rough_exp_negative(Vec x) {
  const Vec magic = each(0x1.8p23f);  // x log2 e + magic has the nearest integer in its low bits
  const Vec shifted = multiply_add(x, each(0x1.715476p+0f), magic);
  const Vec r = multiply_subtract(x, each(0x1.715476p+0f), subtract(shifted, magic));
  Vec p = multiply_add(each(0x1.c3f760p-5f), r, each(0x1.f0de1ap-3f));
  p = multiply_add(p, r, each(0x1.62f31ap-1f));
  p = multiply_add(p, r, each(0x1.fff692p-1f));
  return scale_by_power(not_less(x, each(-0x1.5d589ep+6f)), p, shifted);
}

// Rounded weights have a rounded sum, so that they still are parts of one.
inline float end_softmax(const float* score, float max, Pair* weight) {
  const __m512i ones = each_pair(0x3f803f80);
  Vec sum = each(0);
  for (int64_t i = 0; i < kKeys; i += kPairLanes) {
    const Vec first = rough_exp_negative(subtract(load(score + i), each(max)));
    const Vec second = rough_exp_negative(subtract(load(score + i + kLanes), each(max)));
    const __m512i pairs = row_pairs(first, second);
    _mm512_storeu_si512(weight + i / 2, pairs);
    sum = multiply_add_pairs(pairs, ones, sum);
  }
  return sum_of(sum);
}

// What attend_rows() multiplies.
struct Pairs {
  using Element = Pair;
  static constexpr int64_t kElements = 2;
  const Pair* first;      // query of the tile and the KV head
  int64_t stride, group;  // of queries; query heads
  int64_t depth;
  const Pair *k, *v;
  float (*score)[kKeys];
  Pair (*weight)[kKeys / 2];
  const Pair* query(int64_t token, int64_t head) const {
    return first + (token * group + head) * stride;
  }
  float weigh(const float* row, float max, Pair* to) const { return end_softmax(row, max, to); }
};

template <class T>
inline void attend(const AttentionArgs& a) {
  const Work w = pieces(a);
  over_tiles(a, [&](const Queries& tile) {
    pack_queries(a, tile, w);
    attend_tile<T>(a, tile, w.sums, [&](const Block& block, int64_t head) {
      alignas(64) float score[kRows][kKeys] = {};
      alignas(64) Pair weight[kRows][kKeys / 2];
      pack_keys<T>(a, tile, block, head, w);
      pack_values<T>(a, block, head, w);
      const Pair* q = w.q + (head - tile.kv_begin) * tile.rows() * w.pairs;
      attend_block(a, tile, block, head,
                   Pairs{q, w.pairs, tile.group, (a.k_dim + 1) / 2, w.k, w.v, score, weight},
                   w.sums);
    });
  });
}

}  // namespace

// One query alone is bound by reading the cache, and gains nothing.
void attention_avx512bf16(const AttentionArgs& a) {
  if (!a.rounded || a.tokens == 1) return attention_avx512(a);
  with_type(a.type, [&]<class T>() { attend<T>(a); });
}

}  // namespace klens::cpu
