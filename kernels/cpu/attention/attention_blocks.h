// For attention_<isa>.cpp of vector instruction sets: which keys meet which queries. Integers only,
// internal linkage throughout; see kernels/README.md.
#pragma once
#include "kernels/cpu/attention/attention.h"

namespace klens::cpu {
namespace {

constexpr int64_t kKeys = 64;       // of a block, which begins at a multiple of this position
constexpr int64_t kTileRows = 256;  // more if one KV head has more query heads

inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

// A tile is some tokens times the query heads of some KV heads.
struct Queries {
  int64_t token, tokens;                           // of the call
  int64_t kv_begin, kv_end;                        // KV heads
  int64_t group;                                   // query heads of each
  int64_t first, last;                             // positions of its first and last query
  int64_t rows() const { return tokens * group; }  // of one KV head
};

// Where the rows of a block lie for KV head 0; the keys [begin, end) of it are there and seen by
// some query of the tile.
struct Block {
  int64_t base, begin, end;
  const uint8_t* k[kKeys];  // null: not there, or not seen
  const uint8_t* v[kKeys];
  const float* k_scale[kKeys];
  const float* v_scale[kKeys];
};

// The keys at positions [begin, end) of a segment.
template <class T>
inline void add_rows(const AttentionArgs& a, const KvSegment& from, int64_t begin, int64_t end,
                     Block& block) {
  begin = most(begin, most(from.position, block.base));
  end = least(end, least(from.position + from.rows, block.base + kKeys));
  if (begin >= end) return;
  const int64_t row = (begin - from.position) * a.kv_heads, i = begin - block.base;
  const auto* k = static_cast<const uint8_t*>(from.k) + row * a.k_dim * T::kBytes;
  const auto* v = static_cast<const uint8_t*>(from.v) + row * a.v_dim * T::kBytes;
  for (int64_t j = 0; j < end - begin; ++j) {
    block.k[i + j] = k + j * a.kv_heads * a.k_dim * T::kBytes;
    block.v[i + j] = v + j * a.kv_heads * a.v_dim * T::kBytes;
  }
  if (T::kScaled)
    for (int64_t j = 0; j < end - begin; ++j) {
      block.k_scale[i + j] = from.k_scale + row + j * a.kv_heads;
      block.v_scale[i + j] = from.v_scale + row + j * a.kv_heads;
    }
  block.begin = least(block.begin, i);
  block.end = most(block.end, i + end - begin);
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
  const int64_t window = most(tile.first - a.reach, 0);
  for (int64_t s = segment; s < a.segment_count; ++s) {
    const KvSegment& from = a.segments[s];
    if (from.position >= block.base + kKeys) break;
    add_rows<T>(a, from, 0, least(a.pinned, least(window, tile.last + 1)), block);
    add_rows<T>(a, from, window, tile.last + 1, block);
  }
}

// From a KV head's row to what comes next there: the row of the next head, or of the next block.
template <class T>
inline int64_t ahead(const AttentionArgs& a, const Queries& tile, int64_t head, int64_t dim) {
  if (head + 1 < tile.kv_end) return dim * T::kBytes;
  return (kKeys * a.kv_heads - (head - tile.kv_begin)) * dim * T::kBytes;
}

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

}  // namespace
}  // namespace klens::cpu
