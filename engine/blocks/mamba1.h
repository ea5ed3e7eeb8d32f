#pragma once
#include <vector>

#include "engine/linear.h"
#include "loaders/checkpoint.h"

namespace klens {

// A Mamba-1 mixer (arXiv 2312.00752, fig. 3) ready to run. One implementation serves prefill and
// decode: tokens is 1 or many.
class Mamba1 {
 public:
  // first_unit: index of in_proj among the model's units; x_proj, dt_proj, out_proj follow.
  Mamba1(const Mamba1Spec& spec, const Checkpoint& checkpoint, size_t first_unit);

  // Floats of one sequence's state: convolution [d_conv - 1][d_inner], then SSM [d_state][d_inner].
  int64_t state_size() const { return (spec_.d_conv - 1 + spec_.d_state) * spec_.d_inner; }

  // y [tokens][d_model] = mixer(x [tokens][d_model]); advances state [state_size()]. kept: null, or
  // [kept_size(tokens)] that is left holding what resume() starts from.
  void forward(const float* x, int64_t tokens, float* state, float* y, float* kept,
               const Pass& pass) const;

  // The same for a fresh sequence of which forward() kept everything before unit `unit` of this
  // mixer (0: in_proj, 1: x_proj, 2: dt_proj, 3: out_proj): only what depends on that unit is
  // computed anew. For unit 0, x is needed.
  void resume(size_t unit, const float* kept, const float* x, int64_t tokens, float* y,
              const Pass& pass) const;

  int64_t kept_size(int64_t tokens) const;  // floats

 private:
  // What flows between the units, each [tokens][...].
  struct Flow {
    float* xz;     // [2 d_inner]: x, z side by side, from in_proj
    float* xc;     // [d_inner]: x after conv1d and SiLU
    float* dbc;    // [dt_rank + 2 d_state]: dt (low rank), B, C side by side, from x_proj
    float* dt;     // [d_inner]: after dt_proj and softplus
    float* gated;  // [d_inner]: the scan's output times SiLU(z)
  };
  Flow flow_in(float* buffer, int64_t tokens) const;
  void run(size_t unit, const Flow& flow, const float* x, int64_t tokens, float* state, float* y,
           const Pass& pass) const;
  void convolve(const Flow& flow, int64_t tokens, float* state, const Pass& pass) const;
  void project_dt_b_c(const Flow& flow, int64_t tokens, const Pass& pass) const;
  void project_dt(const Flow& flow, int64_t tokens, const Pass& pass) const;
  void scan(const Flow& flow, int64_t tokens, float* state, const Pass& pass) const;

  Mamba1Spec spec_;
  size_t first_unit_;
  std::vector<float> conv_weight_;         // [d_conv][d_inner]
  std::vector<float> conv_bias_;           // [d_inner] or empty
  std::vector<float> in_bias_, out_bias_;  // [2 d_inner], [d_model], or empty
  std::vector<float> dt_bias_;             // [d_inner]
  std::vector<float> a_;                   // [d_state][d_inner]: -exp(A_log), transposed
  std::vector<float> d_;                   // [d_inner]
};

}  // namespace klens
