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
    for (int64_t h = 0; h < heads(); ++h) scan(h, xc, dbc, z, z_stride, gated, pass);
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

// Time steps, scan and gate of one head, strip by strip: a strip's time steps are used while they
// are in cache, and no thread waits in between.
void SelectiveScan::scan(int64_t head, const float* xc, const float* dbc, const float* z,
                         int64_t z_stride, float* gated, const Pass& pass) const {
  const int64_t channels = spec_.d_inner / heads(), width = heads() * head_width();
  const int64_t work = spec_.d_state * 12 + spec_.dt_rank;
  const std::vector<float*> states = fixed_states(pass, offset_, spec_.d_state * spec_.d_inner);
  const Weight& dt_proj = pass.weights[spec_.dt_proj[static_cast<size_t>(head)]];
  const float* from = dbc + head * head_width();
  LinearInput input(from, width, pass.batch.rows, spec_.dt_rank);
  input.prepare(dt_proj, pass);
  over_sequences(
      pass, (channels + kStrip - 1) / kStrip, kStrip * work,
      [&](int64_t s, int64_t begin, int64_t end) {
        const Sequence& sequence = pass.batch.sequences[static_cast<size_t>(s)];
        // A token alone wants its state in long rows.
        const int64_t step = sequence.tokens == 1 ? end - begin : 1;
        for (int64_t strip = begin; strip < end; strip += step) {
          const int64_t first = strip * kStrip, last = std::min(channels, (strip + step) * kStrip);
          float* dt = thread_work(sequence.tokens * (last - first));
          time_steps(input, head, sequence, first, last, dt, pass);
          const Timed timed(pass.executor.clock(), Step::kScan);
          const int64_t at = head * channels + first, row = sequence.row;
          const float* b = from + row * width + spec_.dt_rank;
          const auto run = cpu::best_variant(cpu::selective_scan_variants(), cpu::active()).run;
          run({.x = xc + row * spec_.d_inner + at,
               .x_stride = spec_.d_inner,
               .dt = dt,
               .dt_stride = last - first,
               .z = z + row * z_stride + at,
               .z_stride = z_stride,
               .b = b,
               .c = b + spec_.d_state,
               .bc_stride = width,
               .a = a_.data() + at,
               .d = d_.data() + at,
               .state = states[static_cast<size_t>(s)] + at,
               .y = gated + row * spec_.d_inner + at,
               .y_stride = spec_.d_inner,
               .tokens = sequence.tokens,
               .channels = spec_.d_inner,
               .states = spec_.d_state,
               .channel_begin = 0,
               .channel_end = last - first});
        }
      });
}

// dt [tokens][last - first] = softplus(dt_proj + bias) of a head's channels [first, last); `first`
// begins a tile of the projection.
void SelectiveScan::time_steps(const LinearInput& input, int64_t head, const Sequence& sequence,
                               int64_t first, int64_t last, float* dt, const Pass& pass) const {
  const LinearPart part{.tile_begin = first / kTileOutputs,
                        .tile_end = (last + kTileOutputs - 1) / kTileOutputs,
                        .t_begin = sequence.row,
                        .t_end = sequence.row + sequence.tokens};
  const int64_t cols = last - first;
  input.apply_part(pass.weights[spec_.dt_proj[static_cast<size_t>(head)]], nullptr, dt, cols, part,
                   pass);
  const Timed timed(pass.executor.clock(), Step::kElementwise);
  const auto softplus = cpu::best_variant(cpu::softplus_variants(), cpu::active()).run;
  softplus({.x = dt,
            .x_stride = cols,
            .y = dt,
            .y_stride = cols,
            .bias = dt_bias_.data() + head * (spec_.d_inner / heads()) + first,
            .tokens = sequence.tokens,
            .cols = cols});
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
