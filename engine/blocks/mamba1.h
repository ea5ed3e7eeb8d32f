#pragma once
#include <vector>

#include "engine/linear.h"
#include "loaders/checkpoint.h"

namespace klens {

// A Mamba-1 mixer (arXiv 2312.00752, fig. 3) ready to run. One implementation serves prefill and decode:
// tokens is 1 or many.
class Mamba1 {
 public:
  // first_unit: index of in_proj among the model's units; x_proj, dt_proj, out_proj follow.
  Mamba1(const Mamba1Spec& spec, const Checkpoint& checkpoint, size_t first_unit);

  // Floats of one sequence's state: convolution [d_conv - 1][d_inner], then SSM [d_state][d_inner].
  int64_t state_size() const { return (spec_.d_conv - 1 + spec_.d_state) * spec_.d_inner; }

  // y [tokens][d_model] = mixer(x [tokens][d_model]); advances state [state_size()].
  void forward(const float* x, int64_t tokens, float* state, float* y, const Pass& pass) const;

 private:
  void project_dt_b_c(const float* xc, float* dbc, float* dt, int64_t tokens, const Pass& pass) const;

  Mamba1Spec spec_;
  size_t first_unit_;
  std::vector<float> conv_weight_;  // [d_conv][d_inner]
  std::vector<float> conv_bias_;    // [d_inner] or empty
  std::vector<float> in_bias_, out_bias_;  // [2 d_inner], [d_model], or empty
  std::vector<float> dt_bias_;      // [d_inner]
  std::vector<float> a_;            // [d_state][d_inner]: -exp(A_log), transposed
  std::vector<float> d_;            // [d_inner]
};

}  // namespace klens
