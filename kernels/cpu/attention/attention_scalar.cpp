#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/cpu/attention/attention.h"
#include "kernels/half.h"

namespace klens::cpu {

Attention attention_scalar;

namespace {

constexpr int64_t kChannels = 64;  // of a value at a time: sums in FP64 without working memory

// Element `at` of a cached array whose row (of one head) is `row`.
double element(KvType type, const void* data, const float* scale, int64_t row, int64_t at) {
  switch (type) {
    case KvType::kF32:
      return static_cast<const float*>(data)[at];
    case KvType::kF16:
      return f16_to_f32(static_cast<const uint16_t*>(data)[at]);
    case KvType::kI8:
      return static_cast<const int8_t*>(data)[at] * double{scale[row]};
  }
  return 0;
}

// Calls f(segment, row of this KV head) for every key that a query at `position` sees.
template <class F>
void each_visible(const AttentionArgs& a, int64_t position, int64_t kv_head, F f) {
  for (int64_t s = 0; s < a.segment_count; ++s)
    for (int64_t r = 0; r < a.segments[s].rows; ++r) {
      const int64_t key = a.segments[s].position + r;
      if (key < a.key_begin || key >= a.key_end) continue;
      if (key <= position && (position - key <= a.reach || key < a.pinned))
        f(a.segments[s], r * a.kv_heads + kv_head);
    }
}

// One query of one head: a pass for the greatest score, and one over the values per kChannels.
void attend(const AttentionArgs& a, int64_t position, int64_t kv_head, const float* q, float* y,
            AttentionPart* part) {
  const auto score = [&](const KvSegment& s, int64_t row) {
    double sum = 0;
    for (int64_t i = 0; i < a.k_dim; ++i)
      sum += double{q[i]} * element(a.type, s.k, s.k_scale, row, row * a.k_dim + i);
    return sum * double{a.scale};
  };
  float max = -std::numeric_limits<float>::infinity();  // rounded, as it is told
  each_visible(a, position, kv_head, [&](const KvSegment& s, int64_t row) {
    max = std::max(max, static_cast<float>(score(s, row)));
  });
  for (int64_t v0 = 0; v0 < a.v_dim; v0 += kChannels) {
    const int64_t count = std::min(kChannels, a.v_dim - v0);
    double total = 0, sum[kChannels] = {};
    each_visible(a, position, kv_head, [&](const KvSegment& s, int64_t row) {
      const double p = std::exp(score(s, row) - double{max});
      total += p;
      for (int64_t i = 0; i < count; ++i)
        sum[i] += p * element(a.type, s.v, s.v_scale, row, row * a.v_dim + v0 + i);
    });
    for (int64_t i = 0; i < count; ++i)
      y[v0 + i] = total == 0 ? 0.0f : static_cast<float>(sum[i] / total);
    if (part != nullptr) *part = {max, static_cast<float>(total)};
  }
}

}  // namespace

void attention_scalar(const AttentionArgs& a) {
  const int64_t group = a.heads / a.kv_heads;
  for (int64_t t = 0; t < a.tokens; ++t)
    for (int64_t h = a.kv_head_begin * group; h < a.kv_head_end * group; ++h)
      attend(a, a.position + t, h / group, a.q + t * a.q_stride + h * a.k_dim,
             a.y + t * a.y_stride + h * a.v_dim,
             a.part == nullptr ? nullptr : a.part + t * a.heads + h);
}

}  // namespace klens::cpu
