#pragma once
#include <string>

#include "engine/blocks/mixer.h"
#include "kernels/cpu/scan/ssd_scan.h"

namespace klens {

// Mamba-2 (arXiv 2405.21060): in_proj, conv1d over x, B and C, SSD scan, gate and norm, out_proj.
class Mamba2 : public Mixer {
 public:
  Mamba2(const Mamba2Spec& spec, const MixerContext& context);
  const float* run(const float* x, Flow& flow, const Pass& pass) const override;

 private:
  void project(const float* x, float* zxbcdt, const Pass& pass) const;
  void time_steps(const float* from, float* dt, const Pass& pass) const;
  // Of all heads, without working memory.
  cpu::SsdScanArgs scan_args(const Sequence& sequence, const float* xbc, const float* dt,
                             float* state, float* y) const;
  void scan(const float* xbc, const float* dt, float* y, const Pass& pass) const;
  // Throws Error if the FP16 state of this call, which has been run, left what FP16 reaches.
  void check_reach(const cpu::SsdScanArgs& call) const;
  void gate_and_norm(const float* zxbcdt, float* y, const Pass& pass) const;
  int64_t bc_width() const { return 2 * spec_.groups * spec_.d_state; }
  int64_t in_width() const { return 2 * spec_.d_inner + bc_width() + spec_.heads; }
  int64_t ssm_size() const;  // floats that the SSM state takes
  int64_t pending_size() const;
  // And the tokens it lacks, and a bound of what is in it.
  int64_t state_size() const;

  Mamba2Spec spec_;
  int64_t d_model_;
  bool half_;  // the SSM state is FP16, as keys and values are
  Projection in_proj_, out_proj_;
  Conv1d conv_;
  std::string where_;                   // file and mixer, for messages
  int64_t offset_;                      // of the SSM state and of the tokens it lacks
  std::vector<float> in_scale_;         // [in_width()], or empty: all 1
  std::vector<float> dt_bias_, a_, d_;  // [heads]; a_: -exp(A_log)
  std::vector<float> norm_;             // [d_inner], or empty
};

}  // namespace klens
