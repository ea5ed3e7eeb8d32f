#pragma once
#include "engine/blocks/mixer.h"

namespace klens {

// Mamba-1's inside (arXiv 2312.00752, fig. 3): conv1d, x_proj, dt_proj, selective scan, gate.
class SelectiveScan {
 public:
  SelectiveScan(const SelectiveScanSpec& spec, const MixerContext& context);

  // The gated output [rows][d_inner] of x and z [rows][d_inner], which the stage that is running
  // has made.
  Rows run(const Rows& x, const Rows& z, Flow& flow, const Pass& pass) const;

 private:
  // dt, B and C of a head, of those of all.
  struct Parts {
    Rows dt, b, c;
  };
  Parts parts(const Rows& dbc, int64_t head) const;
  void project(const Rows& xc, const Rows& dbc, const Pass& pass) const;
  void scan(const Rows& xc, const Rows& dbc, const Rows& z, const Rows& gated,
            const Pass& pass) const;
  int64_t heads() const { return static_cast<int64_t>(spec_.x_proj.size()); }
  int64_t channels() const { return spec_.d_inner / heads(); }
  int64_t head_width() const { return spec_.dt_rank + 2 * spec_.d_state; }

  SelectiveScanSpec spec_;
  std::vector<MatrixSpec> x_proj_, dt_proj_;  // by head
  Conv1d conv_;
  size_t slot_;
  std::vector<Norm> bcdt_norms_;  // of dt, B, C; or empty
  Rows a_;                        // [d_state][d_inner]: -exp(A_log)
  Rows d_, dt_bias_;              // [1][d_inner]
};

}  // namespace klens
