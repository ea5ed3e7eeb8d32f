#pragma once
#include "engine/blocks/mixer.h"

namespace klens {

// Attention between its projections: norms and rotation of queries and keys, the cache, softmax.
class AttentionCore {
 public:
  AttentionCore(const AttentionCoreSpec& spec, const MixerContext& context);

  // y [rows][heads * v_dim] of q [rows][heads * k_dim] and, where it makes them, k and v; q and k
  // are changed in place. Strides in floats. rounded: what made q, k and v of this block took its
  // input in 8 bits, so they are no more precise than products in BF16.
  void run(float* q, float* k, const float* v, int64_t stride, bool rounded, float* y,
           const Pass& pass) const;

  int64_t q_width() const { return spec_.heads * cache_.k_dim; }
  int64_t k_width() const { return cache_.kv_heads * cache_.k_dim; }
  int64_t v_width() const { return cache_.kv_heads * cache_.v_dim; }
  int64_t y_width() const { return spec_.heads * cache_.v_dim; }

 private:
  void norm(const NormSpec& spec, const std::vector<float>& weight, float* x, int64_t stride,
            int64_t heads, const Pass& pass) const;
  void rotate(float* x, int64_t stride, int64_t heads, const Pass& pass) const;
  void attend(const float* q, int64_t stride, bool rounded, float* y, const Pass& pass) const;

  AttentionCoreSpec spec_;
  KvCacheSpec cache_;
  RopeSpec rope_;
  std::vector<float> q_norm_, k_norm_;  // [k_dim] or [heads][k_dim]
};

class Attention : public Mixer {
 public:
  Attention(const AttentionSpec& spec, const MixerContext& context);
  const float* run(const float* x, Flow& flow, const Pass& pass) const override;

 private:
  int64_t d_in_;
  float input_scale_, output_scale_;
  Projections qkv_;
  AttentionCore core_;
  Projection o_proj_;
};

}  // namespace klens
