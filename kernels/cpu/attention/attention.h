#pragma once
#include <cstdint>
#include <span>

#include "kernels/cpu/attention/kv_cache.h"

namespace klens::cpu {

// Rows of a KV cache that follow each other in memory and in position.
struct KvSegment {
  const void* k;         // [rows][kv_heads][k_dim] of the cache's type
  const void* v;         // [rows][kv_heads][v_dim]
  const float* k_scale;  // [rows][kv_heads]; kI8 only
  const float* v_scale;
  int64_t rows;
  int64_t position;  // of the first row
};

// What joins results over parts of the keys: with m the greatest max, y is the sum over parts of
// total e^(max - m) y, divided by that of total e^(max - m).
struct AttentionPart {
  float max;    // greatest score; minus infinity, and y 0, where no key was seen
  float total;  // sum of e^(score - max)
};

// Causal attention of some queries of one sequence over its cache (arXiv 1706.03762), grouped
// queries (arXiv 2305.13245: query head j reads KV head j / (heads / kv_heads)), with the online
// softmax of arXiv 2205.14135: one pass over the keys, never a tokens x tokens matrix. A query at
// position p sees the keys at positions k with
//   k <= p  and  (p - k <= reach  or  k < pinned).
struct AttentionArgs {
  const float* q;  // [tokens][heads][k_dim], rows q_stride floats apart; rotated, not yet scaled
  int64_t q_stride;
  KvType type;
  const KvSegment* segments;  // [segment_count], ascending positions, no overlap; together they
  int64_t segment_count;      // hold every visible key, the queries' own included
  float scale;                // of the scores, before softmax
  int64_t reach;              // INT64_MAX: all
  int64_t pinned;             // 0: none
  int64_t position;           // of the first query; the others follow
  int64_t tokens;
  int64_t heads, kv_heads, k_dim, v_dim;  // any sizes; kv_heads divides heads
  float* y;                               // [tokens][heads][v_dim], rows y_stride floats apart
  int64_t y_stride;
  int64_t kv_head_begin, kv_head_end;  // only the query heads of these KV heads are computed
  float* work;  // [attention_work(*this)] floats, uninitialised; the call's own
  // Only keys at positions [key_begin, key_end) are seen; both are multiples of 64, or the end is
  // beyond the last key.
  int64_t key_begin = 0, key_end = INT64_MAX;
  AttentionPart* part = nullptr;  // [tokens][heads], of the heads computed; may be null
  bool rounded = false;           // variants that can may round to BF16 what several queries multiply
};

// Floats of working memory that a call needs with any variant.
int64_t attention_work(const AttentionArgs& args);

// No allocation, errors or globals; nothing grows with tokens x keys. A query's result has the same
// bits whatever other heads or segments the call holds, and whatever other queries, but for one
// alone (decoding), which may take another path: keys are taken in blocks that are aligned in
// absolute position. Rows that no query of the call sees may hold anything; the others
// are finite. With S the greatest sum over i of |scale q[i] k[i]|:
//   |y - y_scalar| <= (8 k_dim + keys + 64) eps (1 + S) max |v|
// Where `rounded`, 2^-6 is added to the factor of (1 + S) max |v| (queries, keys, weights and
// values are rounded to 8 bits), and magnitudes below 2^-126 count as zero.
using Attention = void(const AttentionArgs&);

std::span<const Variant<Attention>> attention_variants();

}  // namespace klens::cpu
