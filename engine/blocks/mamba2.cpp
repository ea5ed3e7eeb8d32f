#include "engine/blocks/mamba2.h"

#include <algorithm>
#include <cmath>

#include "kernels/cpu/elementwise/elementwise.h"
#include "kernels/cpu/elementwise/gated.h"
#include "kernels/cpu/norm/rms_norm.h"
#include "kernels/half.h"
#include "kernels/magnitude.h"
#include "loaders/error.h"

namespace klens {
namespace {

// Falcon-H1's multipliers of the parts of in_proj's output; empty where all are 1.
std::vector<float> part_scales(const Mamba2Spec& s) {
  std::vector<float> scales;
  const auto add = [&](int64_t count, float by) {
    scales.insert(scales.end(), static_cast<size_t>(count), by);
  };
  add(s.d_inner, s.z_scale);
  add(s.d_inner, s.x_scale);
  add(s.groups * s.d_state, s.b_scale);
  add(s.groups * s.d_state, s.c_scale);
  add(s.heads, s.dt_scale);
  const bool all_one = std::all_of(scales.begin(), scales.end(), [](float v) { return v == 1; });
  return all_one ? std::vector<float>() : scales;
}

}  // namespace

Mamba2::Mamba2(const Mamba2Spec& spec, const MixerContext& context)
    : spec_(spec),
      d_model_(context.checkpoint.spec.d_model),
      half_(context.kv != cpu::KvType::kF32 && !spec.f32_state),
      in_proj_(spec.in_proj, context.checkpoint),
      out_proj_(spec.out_proj, context.checkpoint),
      conv_(spec.conv_weight, spec.conv_bias, context),
      where_(context.checkpoint.path + ": the state of " +
             context.checkpoint.spec.units[spec.in_proj.unit].name),
      offset_(context.states.take(state_size())),
      in_scale_(part_scales(spec)),
      dt_bias_(context.checkpoint.small_values(spec.dt_bias)),
      a_(context.checkpoint.small_values(spec.a_log)),
      d_(context.checkpoint.small_values(spec.d)) {
  for (float& a : a_) a = -std::exp(a);
  if (spec.norm) norm_ = optional_values(spec.norm->weight, context.checkpoint);
}

int64_t Mamba2::ssm_size() const {
  const int64_t size = spec_.heads * spec_.d_state * spec_.head_dim;
  return half_ ? (size + 1) / 2 : size;
}

int64_t Mamba2::pending_size() const {
  return cpu::ssd_pending_size(spec_.heads, spec_.head_dim, spec_.groups, spec_.d_state);
}

int64_t Mamba2::state_size() const {
  constexpr int64_t kBound = 16;  // one float, and what follows stays aligned
  return ssm_size() + pending_size() + (half_ ? kBound : 0);
}

const float* Mamba2::run(const float* x, Flow& flow, const Pass& pass) const {
  const int64_t rows = pass.batch.rows, inner = spec_.d_inner;
  in_proj_.reach(flow);
  float* y = flow.take(rows * inner);
  if (flow.due()) {
    const Scratch::Frame frame(pass.scratch);
    float* zxbcdt = pass.scratch.take<float>(rows * in_width());
    float* xbc = pass.scratch.take<float>(rows * (inner + bc_width()));
    float* dt = pass.scratch.take<float>(rows * spec_.heads);
    project(x, zxbcdt, pass);
    conv_.run(zxbcdt + inner, in_width(), xbc, pass);
    time_steps(zxbcdt + 2 * inner + bc_width(), dt, pass);
    scan(xbc, dt, y, pass);
    gate_and_norm(zxbcdt, y, pass);
  }
  return out_proj_.stage(y, rows, spec_.output_scale, flow, pass);
}

void Mamba2::project(const float* x, float* zxbcdt, const Pass& pass) const {
  const int64_t rows = pass.batch.rows;
  x = scaled(x, rows * d_model_, spec_.input_scale, pass);
  LinearInput input(x, d_model_, rows, d_model_);
  in_proj_.apply(input, zxbcdt, in_width(), pass);
  if (in_scale_.empty()) return;
  over_rows(pass, rows, in_width(), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t)
      for (size_t i = 0; i < in_scale_.size(); ++i)
        zxbcdt[t * in_width() + static_cast<int64_t>(i)] *= in_scale_[i];
  });
}

// dt = clamp(softplus(dt + dt_bias), dt_min, dt_max)
void Mamba2::time_steps(const float* from, float* dt, const Pass& pass) const {
  const auto softplus = cpu::best_variant(cpu::softplus_variants(), cpu::active()).run;
  pass.executor.ranges(pass.batch.rows, spec_.heads * 16, [&](int64_t begin, int64_t end) {
    const Timed timed(pass.executor.clock(), Step::kElementwise);
    softplus({.x = from + begin * in_width(),
              .x_stride = in_width(),
              .y = dt + begin * spec_.heads,
              .y_stride = spec_.heads,
              .bias = dt_bias_.data(),
              .tokens = end - begin,
              .cols = spec_.heads});
    for (int64_t i = begin * spec_.heads; i < end * spec_.heads; ++i)
      dt[i] = std::clamp(dt[i], spec_.dt_min, spec_.dt_max);
  });
}

cpu::SsdScanArgs Mamba2::scan_args(const Sequence& sequence, const float* xbc, const float* dt,
                                   float* state, float* y) const {
  const int64_t inner = spec_.d_inner, width = inner + bc_width();
  const float* x = xbc + sequence.row * width;
  return {.x = x,
          .x_stride = width,
          .dt = dt + sequence.row * spec_.heads,
          .dt_stride = spec_.heads,
          .b = x + inner,
          .c = x + inner + bc_width() / 2,
          .bc_stride = width,
          .a = a_.data(),
          .d = d_.data(),
          .state = half_ ? nullptr : state,
          .half_state = half_ ? reinterpret_cast<uint16_t*>(state) : nullptr,
          .pending = cpu::ssd_pending_at(state + ssm_size(), spec_.heads, spec_.head_dim,
                                         spec_.groups, spec_.d_state),
          .position = sequence.position,
          .y = y + sequence.row * inner,
          .y_stride = inner,
          .tokens = sequence.tokens,
          .heads = spec_.heads,
          .head_dim = spec_.head_dim,
          .groups = spec_.groups,
          .states = spec_.d_state,
          .head_begin = 0,
          .head_end = spec_.heads,
          .work = nullptr};
}

void Mamba2::scan(const float* xbc, const float* dt, float* y, const Pass& pass) const {
  const std::vector<float*> states = fixed_states(pass, offset_, state_size());
  std::vector<cpu::SsdScanArgs> all;
  for (size_t s = 0; s < states.size(); ++s) {
    all.push_back(scan_args(pass.batch.sequences[s], xbc, dt, states[s], y));
    // x, B and C that in_proj made of 8-bit activations are no more precise than BF16 products. It
    // is not out_proj that decides: a student of that is given what its teacher scanned.
    all.back().rounded = in_proj_.rounds(pass);
    if (all.back().tokens == 1) cpu::ssd_keep_b(all.back());
  }
  const auto run = cpu::best_variant(cpu::ssd_scan_variants(), cpu::active()).run;
  const int64_t work = spec_.head_dim * spec_.d_state * 4;
  over_sequences(pass, spec_.heads, work, [&](int64_t s, int64_t begin, int64_t end) {
    const Timed timed(pass.executor.clock(), Step::kScan);
    cpu::SsdScanArgs args = all[static_cast<size_t>(s)];
    args.head_begin = begin;
    args.head_end = end;
    args.work = thread_work(cpu::ssd_scan_work(args));
    run(args);
  });
  if (!half_) return;
  for (size_t s = 0; s < all.size(); ++s)  // a fresh pass keeps nothing
    if (!pass.batch.sequences[s].state->fixed.empty()) check_reach(all[s]);
}

// What a call of several tokens leaves in a state is looked at: such a call reads and writes all of
// it anyway. A token alone adds at most dt |x| |B| to any element, and rounding at most as much
// again; the sum of that is beyond FP16 before a state can be, and only then is the state looked
// at, which after every token would cost a tenth of the scan.
void Mamba2::check_reach(const cpu::SsdScanArgs& call) const {
  constexpr float kNear = 60000, kRounding = 0.01f;
  const cpu::SsdPending& pending = call.pending;
  float& bound = pending.x[pending_size()];
  if (call.tokens == 1) {
    float x = 0;
    for (int64_t h = 0; h < spec_.heads; ++h)
      x = std::max(x, call.dt[h] * largest_magnitude(call.x + h * spec_.head_dim, spec_.head_dim));
    bound += 2 * x * largest_magnitude(call.b, spec_.groups * spec_.d_state) + kRounding;
    if (bound <= kNear) return;
  }
  int16_t largest = 0;
  const int64_t size = spec_.heads * spec_.d_state * spec_.head_dim;
  for (int64_t i = 0; i < size; ++i)
    largest = std::max(largest, static_cast<int16_t>(call.half_state[i] & 0x7fff));
  bound = f16_to_f32(static_cast<uint16_t>(largest));
  if (bound >= kMaxF16)
    throw Error(ErrorKind::kUnsupported,
                where_ + " left what FP16 holds (65504); run the model with --kv f32");
  // What the state lacks has weights of at most 1.
  if (call.tokens == 1)
    bound += static_cast<float>(cpu::kSsdPending) *
             largest_magnitude(pending.x, cpu::kSsdPending * spec_.d_inner) *
             largest_magnitude(pending.b, cpu::kSsdPending * spec_.groups * spec_.d_state);
}

// Row by row: a row is normed while it is in L1.
void Mamba2::gate_and_norm(const float* zxbcdt, float* y, const Pass& pass) const {
  const int64_t inner = spec_.d_inner, group = inner / spec_.norm_groups;
  const auto gated = cpu::best_variant(cpu::gated_silu_variants(), cpu::active()).run;
  const auto norm = cpu::best_variant(cpu::rms_norm_variants(), cpu::active()).run;
  const auto gate_row = [&](int64_t t) {
    float* row = y + t * inner;
    gated({.gate = zxbcdt + t * in_width(),
           .gate_stride = in_width(),
           .gate_scale = 1,
           .up = row,
           .up_stride = inner,
           .y = row,
           .y_stride = inner,
           .tokens = 1,
           .cols = inner});
  };
  const auto norm_row = [&](int64_t t) {
    for (int64_t at = 0; at < inner; at += group)
      norm({.x = y + t * inner + at,
            .x_stride = inner,
            .y = y + t * inner + at,
            .y_stride = inner,
            .weight = norm_.empty() ? nullptr : norm_.data() + at,
            .tokens = 1,
            .cols = group,
            .epsilon = spec_.norm->eps});
  };
  pass.executor.ranges(pass.batch.rows, inner * 8, [&](int64_t begin, int64_t end) {
    const Timed timed(pass.executor.clock(), Step::kNorm);
    for (int64_t t = begin; t < end; ++t) {
      if (!spec_.norm_before_gate) gate_row(t);
      if (spec_.norm) norm_row(t);
      if (spec_.norm_before_gate) gate_row(t);
    }
  });
}

}  // namespace klens
