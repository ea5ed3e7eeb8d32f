#include "engine/blocks/mamba1.h"

#include <algorithm>
#include <cmath>

#include "kernels/cpu/conv1d/conv1d.h"
#include "kernels/cpu/elementwise/elementwise.h"
#include "kernels/cpu/norm/rms_norm.h"
#include "kernels/cpu/scan/selective_scan.h"

namespace klens {
namespace {

// Threads take whole strips of channels, so that no two write to one cache line.
constexpr int64_t kStrip = 64;

const float* or_null(const std::vector<float>& values) {
  return values.empty() ? nullptr : values.data();
}

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

int64_t Mamba1::kept_size(int64_t tokens) const {
  return tokens * (5 * spec_.d_inner + spec_.x_proj.rows);
}

Mamba1::Flow Mamba1::flow_in(float* buffer, int64_t tokens) const {
  const int64_t inner = tokens * spec_.d_inner;
  return {.xz = buffer,
          .xc = buffer + 2 * inner,
          .dbc = buffer + 5 * inner,
          .dt = buffer + 3 * inner,
          .gated = buffer + 4 * inner};
}

void Mamba1::convolve(const Flow& flow, int64_t tokens, float* state, const Pass& pass) const {
  const int64_t inner = spec_.d_inner, strips = (inner + kStrip - 1) / kStrip;
  const auto conv = cpu::best_variant(cpu::conv1d_variants(), cpu::active()).run;
  pass.executor.ranges(strips, tokens * kStrip * spec_.d_conv * 4, [&](int64_t begin, int64_t end) {
    conv({.x = flow.xz,
          .x_stride = 2 * inner,
          .y = flow.xc,
          .y_stride = inner,
          .w = conv_weight_.data(),
          .bias = or_null(conv_bias_),
          .state = state,
          .tokens = tokens,
          .channels = inner,
          .width = spec_.d_conv,
          .channel_begin = begin * kStrip,
          .channel_end = std::min(inner, end * kStrip)});
  });
}

void Mamba1::project_dt_b_c(const Flow& flow, int64_t tokens, const Pass& pass) const {
  const int64_t inner = spec_.d_inner, rank = spec_.dt_rank, states = spec_.d_state,
                width = spec_.x_proj.rows;
  LinearInput(flow.xc, inner, tokens, inner)
      .apply(pass.weights[first_unit_ + 1], nullptr, flow.dbc, width, pass);
  if (!spec_.bcdt_norm_eps) return;
  const auto norm = cpu::best_variant(cpu::rms_norm_variants(), cpu::active()).run;
  const auto in_place = [&](float* part, int64_t cols) {
    norm({.x = part,
          .x_stride = width,
          .y = part,
          .y_stride = width,
          .weight = nullptr,
          .tokens = tokens,
          .cols = cols,
          .epsilon = *spec_.bcdt_norm_eps});
  };
  in_place(flow.dbc, rank);
  in_place(flow.dbc + rank, states);
  in_place(flow.dbc + rank + states, states);
}

void Mamba1::project_dt(const Flow& flow, int64_t tokens, const Pass& pass) const {
  const int64_t inner = spec_.d_inner, width = spec_.x_proj.rows;
  LinearInput(flow.dbc, width, tokens, spec_.dt_rank)
      .apply(pass.weights[first_unit_ + 2], nullptr, flow.dt, inner, pass);
  const auto softplus = cpu::best_variant(cpu::softplus_variants(), cpu::active()).run;
  pass.executor.ranges(tokens, inner * 16, [&](int64_t begin, int64_t end) {
    float* part = flow.dt + begin * inner;
    softplus({.x = part,
              .x_stride = inner,
              .y = part,
              .y_stride = inner,
              .bias = dt_bias_.data(),
              .tokens = end - begin,
              .cols = inner});
  });
}

void Mamba1::scan(const Flow& flow, int64_t tokens, float* state, const Pass& pass) const {
  const int64_t inner = spec_.d_inner, states = spec_.d_state,
                strips = (inner + kStrip - 1) / kStrip;
  const float* b = flow.dbc + spec_.dt_rank;
  const auto run = cpu::best_variant(cpu::selective_scan_variants(), cpu::active()).run;
  pass.executor.ranges(strips, tokens * kStrip * states * 16, [&](int64_t begin, int64_t end) {
    run({.x = flow.xc,
         .x_stride = inner,
         .dt = flow.dt,
         .dt_stride = inner,
         .z = flow.xz + inner,
         .z_stride = 2 * inner,
         .b = b,
         .c = b + states,
         .bc_stride = spec_.x_proj.rows,
         .a = a_.data(),
         .d = d_.data(),
         .state = state,
         .y = flow.gated,
         .y_stride = inner,
         .tokens = tokens,
         .channels = inner,
         .states = states,
         .channel_begin = begin * kStrip,
         .channel_end = std::min(inner, end * kStrip)});
  });
}

// The units in order, from `unit` on.
void Mamba1::run(size_t unit, const Flow& flow, const float* x, int64_t tokens, float* state,
                 float* y, const Pass& pass) const {
  const int64_t inner = spec_.d_inner, model = spec_.in_proj.cols;
  if (unit == 0) {
    LinearInput(x, model, tokens, model)
        .apply(pass.weights[first_unit_], or_null(in_bias_), flow.xz, 2 * inner, pass);
    convolve(flow, tokens, state, pass);
  }
  if (unit <= 1) project_dt_b_c(flow, tokens, pass);
  if (unit <= 2) {
    project_dt(flow, tokens, pass);
    scan(flow, tokens, state + (spec_.d_conv - 1) * inner, pass);
  }
  LinearInput(flow.gated, inner, tokens, inner)
      .apply(pass.weights[first_unit_ + 3], or_null(out_bias_), y, model, pass);
}

void Mamba1::forward(const float* x, int64_t tokens, float* state, float* y, float* kept,
                     const Pass& pass) const {
  const Scratch::Frame frame(pass.scratch);
  float* buffer = kept != nullptr ? kept : pass.scratch.take<float>(kept_size(tokens));
  run(0, flow_in(buffer, tokens), x, tokens, state, y, pass);
}

void Mamba1::resume(size_t unit, const float* kept, const float* x, int64_t tokens, float* y,
                    const Pass& pass) const {
  const Scratch::Frame frame(pass.scratch);
  // Parts before the unit are read where they were kept, parts after it are written to scratch.
  const Flow before = flow_in(const_cast<float*>(kept), tokens);
  Flow flow = flow_in(pass.scratch.take<float>(kept_size(tokens)), tokens);
  if (unit >= 1) {
    flow.xz = before.xz;
    flow.xc = before.xc;
  }
  if (unit >= 2) flow.dbc = before.dbc;
  if (unit >= 3) flow.gated = before.gated;
  float* state = pass.scratch.take<float>(state_size());
  std::fill_n(state, state_size(), 0.0f);
  run(unit, flow, x, tokens, state, y, pass);
}

}  // namespace klens
