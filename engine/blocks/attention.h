#pragma once
#include "engine/blocks/mixer.h"

namespace klens {

// Attention between its projections: norms and rotation of queries and keys, the cache, softmax.
class AttentionCore {
 public:
  AttentionCore(const AttentionCoreSpec& spec, const MixerContext& context);

  // y [rows][y_width()] of q, k and v side by side [rows][width()], k and v where it makes them; q
  // and k are changed in place. rounded: what made them took its input in 8 bits, so they are no
  // more precise than products in BF16.
  void run(const Rows& qkv, bool rounded, const Rows& y, const Pass& pass) const;

  int64_t width() const { return q_width() + (spec_.makes_kv ? k_width() + v_width() : 0); }
  int64_t y_width() const { return spec_.heads * cache_.v_dim; }

 private:
  int64_t q_width() const { return spec_.heads * cache_.k_dim; }
  int64_t k_width() const { return cache_.kv_heads * cache_.k_dim; }
  int64_t v_width() const { return cache_.kv_heads * cache_.v_dim; }
  // Queries or keys, by head: norm and rotation.
  void prepare(const Rows& x, int64_t heads, const std::optional<NormSpec>& norm,
               const Rows& weight, const Pass& pass) const;

  AttentionCoreSpec spec_;
  KvCacheSpec cache_;
  Rows q_norm_, k_norm_;  // [1][k_dim] or [1][heads * k_dim]
};

class Attention : public Mixer {
 public:
  Attention(const AttentionSpec& spec, const MixerContext& context);
  Rows run(const Rows& x, Flow& flow, const Pass& pass) const override;

 private:
  float input_scale_, output_scale_;
  Projections qkv_;
  AttentionCore core_;
  Projection o_proj_;
};

}  // namespace klens
