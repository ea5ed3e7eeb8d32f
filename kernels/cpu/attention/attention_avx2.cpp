// Built with -mavx2 -mfma -mf16c. See kernels/README.md for the one rule of such files.
#include "kernels/cpu/attention/attention.h"
#include "kernels/cpu/attention/kv_avx2.h"
#include "kernels/cpu/tile_avx2.h"

namespace klens::cpu {

Attention attention_avx2;

// A tile is some tokens times the query heads of some KV heads. Block after block of keys, the
// block of each KV head is converted once, and then meets the tile's rows (a token and a query
// head) six at a time. A key that a row does not see adds an exact zero to sums that are no
// negative zero, so what else is in the tile, and which blocks are left out, does not show in the
// bits.
namespace {

constexpr int64_t kKeys = 64;        // of a block, which begins at a multiple of this position
constexpr int64_t kTileRows = 96;    // more if one KV head has more query heads
constexpr int64_t kDirectRows = 12;  // up to here FP32 values are read where they lie
constexpr int kRows = 6;

inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
inline int64_t up8(int64_t n) { return (n + 7) / 8 * 8; }

// The pieces of args.work; attention_work() counts them. Rows of values and sums are padded to
// eight columns with zeros.
struct Work {
  float* k;      // [k_dim to a multiple of 8][kKeys]: transposed
  float* v;      // [kKeys][v_dim to a multiple of 8]
  float* sum;    // [rows][v_dim to a multiple of 8]: of e^(score - max) times values
  float* max;    // [rows]: greatest score so far
  float* total;  // [rows]: sum of e^(score - max)
};

inline Work pieces(const AttentionArgs& a, int64_t rows) {
  Work w;
  w.k = a.work;
  w.v = w.k + up8(a.k_dim) * kKeys;
  w.sum = w.v + kKeys * up8(a.v_dim);
  w.max = w.sum + rows * up8(a.v_dim);
  w.total = w.max + rows;
  return w;
}

struct Queries {
  int64_t token, tokens;                           // of the call
  int64_t kv_begin, kv_end;                        // KV heads
  int64_t group;                                   // query heads of each
  int64_t first, last;                             // positions of its first and last query
  int64_t rows() const { return tokens * group; }  // of one KV head
};

// ---- Keys and values

// Where the rows of a block lie for KV head 0; the keys [begin, end) of it are there and seen by
// some query of the tile.
struct Block {
  int64_t base, begin, end;
  const uint8_t* k[kKeys];  // null: not there, or not seen
  const uint8_t* v[kKeys];
  const float* k_scale[kKeys];
  const float* v_scale[kKeys];
};

inline bool seen(const AttentionArgs& a, const Queries& tile, int64_t key) {
  return key <= tile.last && (key >= tile.first - a.reach || key < a.pinned);
}

// `segment` moves on to the first that reaches into the block.
template <class T>
inline void find_rows(const AttentionArgs& a, const Queries& tile, int64_t& segment, Block& block) {
  for (int64_t i = 0; i < kKeys; ++i) block.k[i] = block.v[i] = nullptr;
  block.begin = kKeys;
  block.end = 0;
  while (segment < a.segment_count &&
         a.segments[segment].position + a.segments[segment].rows <= block.base)
    ++segment;
  for (int64_t s = segment; s < a.segment_count; ++s) {
    const KvSegment& from = a.segments[s];
    const int64_t end = least(from.position + from.rows, block.base + kKeys);
    for (int64_t key = most(from.position, block.base); key < end; ++key) {
      if (!seen(a, tile, key)) continue;
      const int64_t row = (key - from.position) * a.kv_heads, i = key - block.base;
      block.k[i] = static_cast<const uint8_t*>(from.k) + row * a.k_dim * T::kBytes;
      block.v[i] = static_cast<const uint8_t*>(from.v) + row * a.v_dim * T::kBytes;
      if (T::kScaled) {
        block.k_scale[i] = from.k_scale + row;
        block.v_scale[i] = from.v_scale + row;
      }
      block.begin = least(block.begin, i);
      block.end = i + 1;
    }
    if (from.position + from.rows >= block.base + kKeys) break;
  }
}

// From a KV head's row to what comes next there: the row of the next head, or of the next block.
template <class T>
inline int64_t ahead(const AttentionArgs& a, const Queries& tile, int64_t head, int64_t dim) {
  if (head + 1 < tile.kv_end) return dim * T::kBytes;
  return (kKeys * a.kv_heads - (head - tile.kv_begin)) * dim * T::kBytes;
}

// Columns of keys that are not there stay as they were: no query sees them. Rows are too far apart
// for hardware to see them coming, so what comes next, values included, is asked for on the way.
template <class T>
inline void convert_keys(const AttentionArgs& a, const Queries& tile, const Block& block,
                         int64_t head, float* k) {
  const int64_t next_k = ahead<T>(a, tile, head, a.k_dim);
  const int64_t next_v = ahead<T>(a, tile, head, a.v_dim);
  for (int64_t i = block.begin / 8 * 8; i < block.end; i += 8) {
    const uint8_t* row[8];
    const uint8_t* value[8];
    float scale[8];
    for (int64_t j = 0; j < 8; ++j) {
      const int64_t key = block.k[i + j] == nullptr ? block.end - 1 : i + j;
      row[j] = block.k[key] + head * a.k_dim * T::kBytes;
      value[j] = block.v[key] + head * a.v_dim * T::kBytes;
      scale[j] = T::kScaled ? block.k_scale[key][head] : 1.0f;
    }
    for (int64_t d = 0; d < a.k_dim; d += 8) {
      const int64_t at = d * T::kBytes;
      __m256 v[8];
      for (int64_t j = 0; j < 8; ++j) v[j] = load_row<T>(row[j] + at, a.k_dim - d, scale[j]);
      transpose8(v);
      for (int64_t j = 0; j < 8; ++j) _mm256_storeu_ps(k + (d + j) * kKeys + i, v[j]);
      if (at % 64 != 0) continue;
      for (int64_t j = 0; j < 8; ++j) {
        _mm_prefetch(reinterpret_cast<const char*>(row[j] + at + next_k), _MM_HINT_T1);
        _mm_prefetch(reinterpret_cast<const char*>(value[j] + at + next_v), _MM_HINT_T1);
      }
    }
  }
}

template <class T>
inline void convert_values(const AttentionArgs& a, const Block& block, int64_t head, float* v) {
  for (int64_t i = block.begin; i < block.end; ++i) {
    float* to = v + i * up8(a.v_dim);
    if (block.v[i] == nullptr) {
      for (int64_t d = 0; d < a.v_dim; d += 8) _mm256_storeu_ps(to + d, _mm256_setzero_ps());
      continue;
    }
    const uint8_t* from = block.v[i] + head * a.v_dim * T::kBytes;
    const float scale = T::kScaled ? block.v_scale[i][head] : 1.0f;
    for (int64_t d = 0; d < a.v_dim; d += 8)
      _mm256_storeu_ps(to + d, load_row<T>(from + d * T::kBytes, a.v_dim - d, scale));
  }
}

// Values of a block as floats, from key block.begin on.
struct Values {
  const float* data;
  int64_t stride;
};

template <class T>
inline Values values_of(const AttentionArgs& a, const Queries& tile, const Block& block,
                        int64_t head, float* v) {
  if (T::kBytes == 4 && a.v_dim % 8 == 0 && tile.rows() <= kDirectRows) {
    const int64_t stride = a.kv_heads * a.v_dim;
    bool even = true;
    for (int64_t i = block.begin; i < block.end; ++i)
      even = even && block.v[i] == block.v[block.begin] + (i - block.begin) * stride * 4;
    if (even) {
      const auto* first = reinterpret_cast<const float*>(block.v[block.begin]);
      return {first + head * a.v_dim, stride};
    }
  }
  convert_values<T>(a, block, head, v);
  return {v + block.begin * up8(a.v_dim), up8(a.v_dim)};
}

// ---- Scores and sums

// The keys of a block that a query sees: 0 <= i <= last and (i >= first or i < pinned).
struct Sight {
  int64_t first, last, pinned;
  bool all() const { return last == kKeys - 1 && (first <= 0 || pinned >= kKeys); }
  bool none() const { return last < 0 || (first > last && pinned <= 0); }
};

inline Sight sight(const AttentionArgs& a, const Block& block, int64_t position) {
  const int64_t first = most(position - a.reach, 0) - block.base;
  return {least(most(first, 0), kKeys), least(position - block.base, kKeys - 1),
          least(most(a.pinned - block.base, 0), kKeys)};
}

inline __m256i each(int64_t n) { return _mm256_set1_epi32(static_cast<int32_t>(n)); }

inline __m256i mask_of(const Sight& s, int64_t i) {
  const __m256i at = _mm256_add_epi32(each(i), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  const __m256i out = _mm256_andnot_si256(_mm256_cmpgt_epi32(each(s.pinned), at),
                                          _mm256_cmpgt_epi32(each(s.first), at));
  return _mm256_andnot_si256(out, _mm256_cmpgt_epi32(each(s.last + 1), at));
}

// Sums of a row of scores become e^(score - max), 0 where nothing is seen. Returns what the sums
// so far are to be multiplied with.
inline float soften(float* score, float scale, const Sight& s, float& max, float& total) {
  const __m256 none = _mm256_set1_ps(-__builtin_inff());
  __m256 v[kKeys / 8], greatest = none;
  for (int64_t i = 0; i < kKeys / 8; ++i) {
    v[i] = _mm256_mul_ps(_mm256_loadu_ps(score + 8 * i), _mm256_set1_ps(scale));
    if (!s.all()) v[i] = _mm256_blendv_ps(none, v[i], _mm256_castsi256_ps(mask_of(s, 8 * i)));
    greatest = _mm256_max_ps(greatest, v[i]);
  }
  const float before = max, here = max_lanes(greatest);
  max = here > before ? here : before;
  __m256 sum = _mm256_setzero_ps();
  for (int64_t i = 0; i < kKeys / 8; ++i) {
    const __m256 e = exp8(_mm256_sub_ps(v[i], _mm256_set1_ps(max)));
    _mm256_storeu_ps(score + 8 * i, e);
    sum = _mm256_add_ps(sum, e);
  }
  const float factor = _mm256_cvtss_f32(exp8(_mm256_set1_ps(before - max)));
  total = total * factor + sum_lanes(sum);
  return factor;
}

// sum = sum * factor + scores * values, for V registers of columns at a time while so many are
// left.
template <int R, int V>
inline void add_values(const float* const (&scores)[R], const float (&factor)[R],
                       const Values& values, int64_t keys, float* sum, int64_t cols, int64_t c) {
  for (; c + 8 * V <= cols; c += 8 * V) {
    Tile<R, V> tile;
    for (int r = 0; r < R; ++r)
      for (int v = 0; v < V; ++v)
        tile.v[r][v] =
            _mm256_mul_ps(_mm256_loadu_ps(sum + r * cols + c + 8 * v), _mm256_set1_ps(factor[r]));
    multiply(scores, values.data + c, values.stride, keys, tile);
    for (int r = 0; r < R; ++r)
      for (int v = 0; v < V; ++v) _mm256_storeu_ps(sum + r * cols + c + 8 * v, tile.v[r][v]);
  }
  if constexpr (V > 1) add_values<R, V / 2>(scores, factor, values, keys, sum, cols, c);
}

// R rows of the tile meet a block.
template <int R>
inline void attend_rows(const AttentionArgs& a, const Queries& tile, const Block& block,
                        const Values& values, int64_t kv_head, int64_t row, float (*score)[kKeys],
                        const Work& w) {
  constexpr int kV = R == 1 ? 8 : R <= 3 ? 4 : 2;  // eight to twelve registers of sums
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
  for (int64_t i = block.begin / (8 * kV) * (8 * kV); i < end; i += 8 * kV) {
    Tile<R, kV> sums = {};
    multiply(q, w.k + i, kKeys, a.k_dim, sums);
    for (int r = 0; r < R; ++r)
      for (int v = 0; v < kV; ++v) _mm256_store_ps(score[r] + i + 8 * v, sums.v[r][v]);
  }
  const int64_t at = (kv_head - tile.kv_begin) * tile.rows() + row;
  const float* rows[R];
  float factor[R];
  for (int r = 0; r < R; ++r) {
    rows[r] = score[r] + block.begin;
    factor[r] = 1;
    if (sights[r].none()) {
      for (int64_t i = 0; i < kKeys; ++i) score[r][i] = 0;
    } else {
      factor[r] = soften(score[r], a.scale, sights[r], w.max[at + r], w.total[at + r]);
    }
  }
  const int64_t cols = up8(a.v_dim);
  add_values<R, kV>(rows, factor, values, end - block.begin, w.sum + at * cols, cols, 0);
}

template <class T>
inline void attend_block(const AttentionArgs& a, const Queries& tile, const Block& block,
                         const Work& w) {
  alignas(32) float score[kRows][kKeys] = {};
  for (int64_t head = tile.kv_begin; head < tile.kv_end; ++head) {
    convert_keys<T>(a, tile, block, head, w.k);
    const Values values = values_of<T>(a, tile, block, head, w.v);
    int64_t row = 0;
    for (; row + kRows <= tile.rows(); row += kRows)
      attend_rows<kRows>(a, tile, block, values, head, row, score, w);
    switch (tile.rows() - row) {
      case 5:
        attend_rows<5>(a, tile, block, values, head, row, score, w);
        break;
      case 4:
        attend_rows<4>(a, tile, block, values, head, row, score, w);
        break;
      case 3:
        attend_rows<3>(a, tile, block, values, head, row, score, w);
        break;
      case 2:
        attend_rows<2>(a, tile, block, values, head, row, score, w);
        break;
      case 1:
        attend_rows<1>(a, tile, block, values, head, row, score, w);
        break;
    }
  }
}

inline void begin_tile(const AttentionArgs& a, const Queries& tile, const Work& w) {
  const int64_t rows = (tile.kv_end - tile.kv_begin) * tile.rows();
  for (int64_t i = 0; i < rows * up8(a.v_dim); i += 8)
    _mm256_storeu_ps(w.sum + i, _mm256_setzero_ps());
  for (int64_t r = 0; r < rows; ++r) {
    w.max[r] = -__builtin_inff();
    w.total[r] = 0;
  }
}

// y = sum / total. Adding zero makes every zero positive: the sign of one would tell of the blocks
// that were left out.
inline void end_tile(const AttentionArgs& a, const Queries& tile, const Work& w) {
  const int64_t rows = (tile.kv_end - tile.kv_begin) * tile.rows(), cols = up8(a.v_dim);
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t kv_head = tile.kv_begin + r / tile.rows(), t = r % tile.rows() / tile.group;
    const int64_t head = kv_head * tile.group + r % tile.group;
    float* y = a.y + (tile.token + t) * a.y_stride + head * a.v_dim;
    const __m256 total = _mm256_set1_ps(w.total[r]);
    for (int64_t c = 0; c < cols; c += 8) {
      const __m256 quotient = _mm256_div_ps(_mm256_loadu_ps(w.sum + r * cols + c), total);
      const __m256 v = _mm256_add_ps(quotient, _mm256_setzero_ps());
      if (a.v_dim - c >= 8) {
        _mm256_storeu_ps(y + c, v);
      } else {
        _mm256_maskstore_ps(y + c, first_lanes(a.v_dim - c), v);
      }
    }
  }
}

template <class T>
inline void attend_tile(const AttentionArgs& a, const Queries& tile, const Work& w) {
  begin_tile(a, tile, w);
  const int64_t window = most(tile.first - a.reach, 0) / kKeys * kKeys;
  int64_t segment = 0;
  for (int64_t base = 0; base <= tile.last; base += kKeys) {
    if (base >= a.pinned && base < window) base = window;
    Block block;
    block.base = base;
    find_rows<T>(a, tile, segment, block);
    if (block.begin < block.end) attend_block<T>(a, tile, block, w);
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

}  // namespace

void attention_avx2(const AttentionArgs& a) {
  switch (a.type) {
    case KvType::kF32:
      return attend<KvF32>(a);
    case KvType::kF16:
      return attend<KvF16>(a);
    case KvType::kI8:
      return attend<KvI8>(a);
  }
}

}  // namespace klens::cpu
