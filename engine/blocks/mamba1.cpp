#include "engine/blocks/mamba1.h"

#include <algorithm>
#include <cmath>

#include "kernels/cpu/elementwise/elementwise.h"
#include "kernels/cpu/scan/selective_scan.h"

namespace klens {

SelectiveScan::SelectiveScan(const SelectiveScanSpec& spec, const MixerContext& context)
    : spec_(spec),
      conv_(spec.conv_weight, spec.conv_bias, context),
      offset_(context.states.take(spec.d_state * spec.d_inner)),
      dt_bias_(context.checkpoint.small_values(spec.dt_bias)),
      a_(transposed(context.checkpoint.small_values(spec.a_log), spec.d_inner, spec.d_state)),
      d_(context.checkpoint.small_values(spec.d)) {
  for (float& a : a_) a = -std::exp(a);
  if (!spec.dt_norm) return;
  bcdt_norms_.emplace_back(*spec.dt_norm, spec.dt_rank, context.checkpoint);
  bcdt_norms_.emplace_back(*spec.b_norm, spec.d_state, context.checkpoint);
  bcdt_norms_.emplace_back(*spec.c_norm, spec.d_state, context.checkpoint);
}

const float* SelectiveScan::run(const float* x, int64_t x_stride, const float* z, int64_t z_stride,
                                Flow& flow, const Pass& pass) const {
  const int64_t rows = pass.batch.rows, inner = spec_.d_inner;
  float* xc = flow.take(rows * inner);
  if (flow.due()) conv_.run(x, x_stride, xc, pass);

  for (const UnitId unit : spec_.x_proj) flow.reach(unit);
  float* dbc = flow.take(rows * heads() * head_width());
  if (flow.due()) project_dt_b_c(xc, dbc, pass);

  for (const UnitId unit : spec_.dt_proj) flow.reach(unit);
  float* gated = flow.take(rows * inner);
  if (flow.due()) {
    const Scratch::Frame frame(pass.scratch);
    float* dt = pass.scratch.take<float>(rows * inner);
    project_dt(dbc, dt, pass);
    scan(xc, dbc, dt, z, z_stride, gated, pass);
  }
  return gated;
}

void SelectiveScan::project_dt_b_c(const float* xc, float* dbc, const Pass& pass) const {
  const int64_t rows = pass.batch.rows, channels = spec_.d_inner / heads();
  const int64_t width = heads() * head_width();
  for (int64_t h = 0; h < heads(); ++h) {
    float* part = dbc + h * head_width();
    LinearInput(xc + h * channels, spec_.d_inner, rows, channels)
        .apply(pass.weights[spec_.x_proj[static_cast<size_t>(h)]], nullptr, part, width, pass);
    if (bcdt_norms_.empty()) continue;
    const int64_t at[] = {0, spec_.dt_rank, spec_.dt_rank + spec_.d_state};
    for (size_t i = 0; i < 3; ++i)
      bcdt_norms_[i].run(part + at[i], width, part + at[i], width, rows, pass);
  }
}

void SelectiveScan::project_dt(const float* dbc, float* dt, const Pass& pass) const {
  const int64_t rows = pass.batch.rows, inner = spec_.d_inner, channels = inner / heads();
  for (int64_t h = 0; h < heads(); ++h)
    LinearInput(dbc + h * head_width(), heads() * head_width(), rows, spec_.dt_rank)
        .apply(pass.weights[spec_.dt_proj[static_cast<size_t>(h)]], nullptr, dt + h * channels,
               inner, pass);
  const auto softplus = cpu::best_variant(cpu::softplus_variants(), cpu::active()).run;
  pass.executor.ranges(rows, inner * 16, [&](int64_t begin, int64_t end) {
    float* part = dt + begin * inner;
    softplus({.x = part,
              .x_stride = inner,
              .y = part,
              .y_stride = inner,
              .bias = dt_bias_.data(),
              .tokens = end - begin,
              .cols = inner});
  });
}

void SelectiveScan::scan(const float* xc, const float* dbc, const float* dt, const float* z,
                         int64_t z_stride, float* gated, const Pass& pass) const {
  const int64_t inner = spec_.d_inner, states = spec_.d_state, channels = inner / heads();
  const int64_t width = heads() * head_width(), strips = (channels + kStrip - 1) / kStrip;
  const std::vector<float*> kept = fixed_states(pass, offset_, states * inner);
  const auto run = cpu::best_variant(cpu::selective_scan_variants(), cpu::active()).run;
  for (int64_t h = 0; h < heads(); ++h)
    over_sequences(pass, strips, kStrip * states * 16, [&](int64_t s, int64_t begin, int64_t end) {
      const Sequence& sequence = pass.batch.sequences[static_cast<size_t>(s)];
      const int64_t row = sequence.row;
      const float* b = dbc + row * width + h * head_width() + spec_.dt_rank;
      run({.x = xc + row * inner,
           .x_stride = inner,
           .dt = dt + row * inner,
           .dt_stride = inner,
           .z = z + row * z_stride,
           .z_stride = z_stride,
           .b = b,
           .c = b + states,
           .bc_stride = width,
           .a = a_.data(),
           .d = d_.data(),
           .state = kept[static_cast<size_t>(s)],
           .y = gated + row * inner,
           .y_stride = inner,
           .tokens = sequence.tokens,
           .channels = inner,
           .states = states,
           .channel_begin = h * channels + begin * kStrip,
           .channel_end = h * channels + std::min(channels, end * kStrip)});
    });
}

Mamba1::Mamba1(const Mamba1Spec& spec, const MixerContext& context)
    : d_model_(context.checkpoint.spec.d_model),
      d_inner_(spec.scan.d_inner),
      interleaved_(spec.interleaved),
      in_proj_(spec.in_proj, context.checkpoint),
      scan_(spec.scan, context),
      out_proj_(spec.out_proj, context.checkpoint) {}

const float* Mamba1::run(const float* x, Flow& flow, const Pass& pass) const {
  const int64_t rows = pass.batch.rows, width = 2 * d_inner_;
  in_proj_.reach(flow);
  float* xz = flow.take(rows * width);
  if (flow.due()) {
    const Scratch::Frame frame(pass.scratch);
    LinearInput input(x, d_model_, rows, d_model_);
    float* projected = interleaved_ ? pass.scratch.take<float>(rows * width) : xz;
    in_proj_.apply(input, projected, width, pass);
    if (interleaved_)
      for (int64_t t = 0; t < rows; ++t)
        for (int64_t i = 0; i < d_inner_; ++i) {
          xz[t * width + i] = projected[t * width + 2 * i];
          xz[t * width + d_inner_ + i] = projected[t * width + 2 * i + 1];
        }
  }
  const float* gated = scan_.run(xz, width, xz + d_inner_, width, flow, pass);
  return out_proj_.stage(gated, rows, 1, flow, pass);
}

}  // namespace klens
