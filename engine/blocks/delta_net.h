#pragma once
#include "engine/blocks/mixer.h"

namespace klens {

// Gated DeltaNet (arXiv 2412.06464): projections, conv1d over q, k and v, delta rule, norm and
// gate, out_proj.
class DeltaNet : public Mixer {
 public:
  DeltaNet(const DeltaNetSpec& spec, const MixerContext& context);
  Rows run(const Rows& x, Flow& flow, const Pass& pass) const override;

 private:
  int64_t keys() const { return spec_.key_heads * spec_.k_dim; }
  int64_t values() const { return spec_.heads * spec_.v_dim; }
  // q, k, v, z, b, a side by side, of projected rows.
  Rows in_order(const Rows& projected, const Pass& pass) const;
  Rows convolve(const Rows& qkv, const Pass& pass) const;

  DeltaNetSpec spec_;
  Projections in_;
  Projection out_proj_;
  std::vector<Conv1d> convs_;  // of channels that follow each other
  size_t slot_;
  Rows dt_bias_, rate_;  // [1][heads]; rate_: -exp(A_log)
  Rows norm_;            // [1][heads * v_dim]
};

}  // namespace klens
