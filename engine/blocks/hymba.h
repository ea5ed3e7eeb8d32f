#pragma once
#include "engine/blocks/attention.h"
#include "engine/blocks/selective_scan.h"

namespace klens {

// Hymba (arXiv 2411.13676): attention and Mamba heads side by side, normed and averaged.
class Hymba : public Mixer {
 public:
  Hymba(const HymbaSpec& spec, const MixerContext& context);
  Rows run(const Rows& x, Flow& flow, const Pass& pass) const override;

 private:
  int64_t d_inner_;
  Projection in_proj_;
  AttentionCore attention_;
  SelectiveScan scan_;
  Norm attention_norm_, scan_norm_;
  Projection out_proj_;
};

}  // namespace klens
