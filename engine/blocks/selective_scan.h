#pragma once
#include "engine/blocks/mixer.h"

namespace klens {

// Mamba-1's inside (arXiv 2312.00752, fig. 3): conv1d, x_proj, dt_proj, selective scan, gate.
class SelectiveScan {
 public:
  SelectiveScan(const SelectiveScanSpec& spec, const MixerContext& context);

  // The gated output [rows][d_inner] of x and z [rows][d_inner], which the stage that is running
  // has made.
  const float* run(const float* x, int64_t x_stride, const float* z, int64_t z_stride, Flow& flow,
                   const Pass& pass) const;

 private:
  void project_dt_b_c(const float* xc, float* dbc, const Pass& pass) const;
  struct Head;
  struct Stretch;
  void scan(const Head& head, const Pass& pass) const;
  void scan_over_time(const Head& head, float* state, int64_t parts, const Pass& pass) const;
  void scan_stretch(const Head& head, const Stretch& stretch, const Pass& pass) const;
  void time_steps(const Head& head, const Stretch& stretch, float* dt, const Pass& pass) const;
  int64_t time_parts(const Pass& pass) const;
  int64_t channels() const { return spec_.d_inner / heads(); }
  int64_t strips() const { return (channels() + kStrip - 1) / kStrip; }
  int64_t heads() const { return static_cast<int64_t>(spec_.x_proj.size()); }
  int64_t head_width() const { return spec_.dt_rank + 2 * spec_.d_state; }

  SelectiveScanSpec spec_;
  Conv1d conv_;
  int64_t offset_;                // of the SSM state [d_state][d_inner]
  std::vector<Norm> bcdt_norms_;  // of dt, B, C; or empty
  std::vector<float> dt_bias_;    // [d_inner]
  const float* a_;                // -exp(A_log), [d_state][d_inner]
  std::vector<float> d_;          // [d_inner]
};

}  // namespace klens
