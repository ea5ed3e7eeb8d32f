#pragma once
#include "engine/blocks/mixer.h"

namespace klens {

// Attention between its projections: norms and rotation of queries and keys, the cache, softmax.
class AttentionCore {
 public:
  AttentionCore(const AttentionCoreSpec& spec, const MixerContext& context);

  // y [rows][y_width()] of q [rows][q_width()] and, where it makes them, k and v side by side
  // [rows][kv_width()]; q and k are changed in place. rounded: what made them took its input in 8
  // bits or in BF16, so they are no more precise than products in BF16.
  void run(const Rows& q, const Rows& kv, bool rounded, const Rows& y, const Pass& pass) const;

  int64_t heads() const { return spec_.heads; }
  int64_t q_width() const { return spec_.heads * cache_.k_dim; }
  int64_t kv_width() const { return spec_.makes_kv ? k_width() + v_width() : 0; }
  int64_t y_width() const { return spec_.heads * cache_.v_dim; }

 private:
  int64_t k_width() const { return cache_.kv_heads * cache_.k_dim; }
  int64_t v_width() const { return cache_.kv_heads * cache_.v_dim; }
  // Queries or keys, by head.
  void norm(const Rows& x, int64_t heads, const std::optional<NormSpec>& norm, const Rows& weight,
            const Pass& pass) const;
  void rotate(const Rows& x, int64_t heads, const Pass& pass) const;

  AttentionCoreSpec spec_;
  KvCacheSpec cache_;
  Rows q_norm_, k_norm_;  // [1][k_dim] or [1][heads * k_dim]
};

class Attention : public Mixer {
 public:
  Attention(const AttentionSpec& spec, const MixerContext& context);
  Rows run(const Rows& x, Flow& flow, const Pass& pass) const override;

 private:
  // Queries, gates (none where there are none), and keys and values of a projected row.
  struct Parts {
    Rows q, gate, kv;
  };
  Parts parts(const Rows& projected, const Pass& pass) const;

  float input_scale_, output_scale_;
  bool gated_;
  Projections qkv_;
  AttentionCore core_;
  Projection o_proj_;
};

}  // namespace klens
