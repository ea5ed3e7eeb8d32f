#pragma once
#include <string>

#include "engine/blocks/mixer.h"

namespace klens {

// Mamba-2 (arXiv 2405.21060): in_proj, conv1d over x, B and C, SSD scan, gate and norm, out_proj.
class Mamba2 : public Mixer {
 public:
  Mamba2(const Mamba2Spec& spec, const MixerContext& context);
  Rows run(const Rows& x, Flow& flow, const Pass& pass) const override;

 private:
  int64_t bc_width() const { return spec_.groups * spec_.d_state; }
  int64_t conv_width() const { return spec_.d_inner + 2 * bc_width(); }

  Mamba2Spec spec_;
  Projection in_proj_, out_proj_;
  Conv1d conv_;
  std::string where_;  // file and mixer, for messages
  size_t slot_;
  Rows in_scale_;         // of the columns of in_proj's output; none: all 1
  Rows dt_bias_, a_, d_;  // [1][heads]; a_: -exp(A_log)
  Rows norm_;             // [1][d_inner] or none
};

}  // namespace klens
