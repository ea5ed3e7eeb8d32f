#include "engine/blocks/mamba1.h"

#include <cmath>

#include "kernels/cpu/conv1d/conv1d.h"
#include "kernels/cpu/elementwise/elementwise.h"
#include "kernels/cpu/norm/rms_norm.h"
#include "kernels/cpu/scan/selective_scan.h"

namespace klens {
namespace {

const float* or_null(const std::vector<float>& values) { return values.empty() ? nullptr : values.data(); }

// [rows][cols] to [cols][rows]: kernels vectorise over channels, which checkpoints keep outermost.
std::vector<float> transposed(const std::vector<float>& values, int64_t rows, int64_t cols) {
  std::vector<float> result(values.size());
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < cols; ++c)
      result[static_cast<size_t>(c * rows + r)] = values[static_cast<size_t>(r * cols + c)];
  return result;
}

}  // namespace

Mamba1::Mamba1(const Mamba1Spec& spec, const Checkpoint& checkpoint, size_t first_unit)
    : spec_(spec), first_unit_(first_unit) {
  const auto values = [&](const SmallSpec& small) { return checkpoint.small.at(small.tensor); };
  const auto optional = [&](const std::optional<SmallSpec>& small) {
    return small ? values(*small) : std::vector<float>();
  };
  conv_weight_ = transposed(values(spec.conv_weight), spec.d_inner, spec.d_conv);
  conv_bias_ = optional(spec.conv_bias);
  in_bias_ = optional(spec.in_bias);
  out_bias_ = optional(spec.out_bias);
  dt_bias_ = values(spec.dt_bias);
  a_ = transposed(values(spec.a_log), spec.d_inner, spec.d_state);
  for (float& a : a_) a = -std::exp(a);
  d_ = values(spec.d);
}

void Mamba1::project_dt_b_c(const float* xc, float* dbc, float* dt, int64_t tokens, const Pass& pass) const {
  const int64_t inner = spec_.d_inner, rank = spec_.dt_rank, states = spec_.d_state;
  const int64_t width = rank + 2 * states;
  LinearInput(xc, inner, tokens, inner).apply(pass.weights[first_unit_ + 1], nullptr, dbc, width, pass);
  if (spec_.bcdt_norm_eps) {
    const auto norm = cpu::best_variant(cpu::rms_norm_variants(), cpu::active()).run;
    const auto in_place = [&](float* part, int64_t cols) {
      norm({.x = part, .x_stride = width, .y = part, .y_stride = width, .weight = nullptr,
            .tokens = tokens, .cols = cols, .epsilon = *spec_.bcdt_norm_eps});
    };
    in_place(dbc, rank);
    in_place(dbc + rank, states);
    in_place(dbc + rank + states, states);
  }
  LinearInput(dbc, width, tokens, rank).apply(pass.weights[first_unit_ + 2], nullptr, dt, inner, pass);
  const auto softplus = cpu::best_variant(cpu::softplus_variants(), cpu::active()).run;
  pass.executor.ranges(tokens, inner * 16, [&](int64_t begin, int64_t end) {
    float* part = dt + begin * inner;
    softplus({.x = part, .x_stride = inner, .y = part, .y_stride = inner, .bias = dt_bias_.data(),
              .tokens = end - begin, .cols = inner});
  });
}

void Mamba1::forward(const float* x, int64_t tokens, float* state, float* y, const Pass& pass) const {
  const int64_t inner = spec_.d_inner, states = spec_.d_state, rank = spec_.dt_rank;
  const int64_t width = rank + 2 * states, model = spec_.in_proj.cols;
  const Scratch::Frame frame(pass.scratch);
  float* xz = pass.scratch.take<float>(tokens * 2 * inner);  // x, z side by side
  float* xc = pass.scratch.take<float>(tokens * inner);      // after conv1d and SiLU; then the gated output
  float* dbc = pass.scratch.take<float>(tokens * width);     // dt (low rank), B, C side by side
  float* dt = pass.scratch.take<float>(tokens * inner);

  LinearInput(x, model, tokens, model).apply(pass.weights[first_unit_], or_null(in_bias_), xz, 2 * inner, pass);
  const auto conv = cpu::best_variant(cpu::conv1d_variants(), cpu::active()).run;
  // Threads take whole vectors of channels, so that no two share a cache line.
  constexpr int64_t kChannels = 64;
  const int64_t strips = (inner + kChannels - 1) / kChannels;
  pass.executor.ranges(strips, tokens * kChannels * spec_.d_conv * 4, [&](int64_t begin, int64_t end) {
    conv({.x = xz, .x_stride = 2 * inner, .y = xc, .y_stride = inner, .w = conv_weight_.data(),
          .bias = or_null(conv_bias_), .state = state, .tokens = tokens, .channels = inner,
          .width = spec_.d_conv, .channel_begin = begin * kChannels,
          .channel_end = std::min(inner, end * kChannels)});
  });
  project_dt_b_c(xc, dbc, dt, tokens, pass);
  const auto scan = cpu::best_variant(cpu::selective_scan_variants(), cpu::active()).run;
  pass.executor.ranges(strips, tokens * kChannels * states * 16, [&](int64_t begin, int64_t end) {
    scan({.x = xc, .x_stride = inner, .dt = dt, .dt_stride = inner, .z = xz + inner, .z_stride = 2 * inner,
          .b = dbc + rank, .c = dbc + rank + states, .bc_stride = width, .a = a_.data(), .d = d_.data(),
          .state = state + (spec_.d_conv - 1) * inner, .y = xc, .y_stride = inner, .tokens = tokens,
          .channels = inner, .states = states, .channel_begin = begin * kChannels,
          .channel_end = std::min(inner, end * kChannels)});
  });
  LinearInput(xc, inner, tokens, inner).apply(pass.weights[first_unit_ + 3], or_null(out_bias_), y, model, pass);
}

}  // namespace klens
