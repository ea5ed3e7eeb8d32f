#include "engine/blocks/mamba2.h"

#include <algorithm>
#include <cmath>

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

std::vector<float> decay_rates(std::vector<float> a_log) {
  for (float& a : a_log) a = -std::exp(a);
  return a_log;
}

StateSlot ssd_slot(const Mamba2Spec& s, KvType kv) {
  return {.kind = StateSlot::Kind::kSsd,
          .channels = s.heads * s.head_dim,
          .heads = s.heads,
          .groups = s.groups,
          .states = s.d_state,
          .half = kv != KvType::kF32 && !s.f32_state};
}

}  // namespace

Mamba2::Mamba2(const Mamba2Spec& spec, const MixerContext& context)
    : spec_(spec),
      in_proj_(spec.in_proj, context),
      out_proj_(spec.out_proj, context),
      conv_(spec.conv_weight, spec.conv_bias, context),
      where_(context.checkpoint.path + ": the state of " +
             context.matrix(spec.in_proj.matrix).name),
      slot_(context.slot(ssd_slot(spec, context.kv))),
      dt_bias_(context.values(spec.dt_bias)),
      a_(context.constants.put(decay_rates(context.checkpoint.small_values(spec.a_log)))),
      d_(context.values(spec.d)),
      norm_(context.values(spec.norm)) {
  const std::vector<float> scales = part_scales(spec);
  if (!scales.empty()) in_scale_ = context.constants.put(scales);
}

Rows Mamba2::run(const Rows& x, Flow& flow, const Pass& pass) const {
  const int64_t rows = x.count(), inner = spec_.d_inner;
  Lane& lane = pass.lane;
  in_proj_.reach(flow);
  const Rows y = flow.take(rows, inner);
  if (flow.due()) {
    const Lane::Frame frame(lane);
    const Rows zxbcdt = lane.take(rows, in_proj_.rows()), xbc = lane.take(rows, conv_width());
    LinearInput input(scaled(x, spec_.input_scale, pass));
    in_proj_.apply(input, zxbcdt, pass);
    if (!in_scale_.none()) lane.scale_columns(zxbcdt, in_scale_);
    conv_.run(zxbcdt.columns(inner, conv_width()), xbc, pass);
    // x, B and C that in_proj made of 8-bit or BF16 activations are no more precise than BF16
    // products. It is not out_proj that decides: a student of that is given what its teacher
    // scanned.
    advance(SsdScanArgs{.dt = zxbcdt.columns(inner + conv_width(), spec_.heads),
                        .x = xbc.columns(0, inner),
                        .b = xbc.columns(inner, bc_width()),
                        .c = xbc.columns(inner + bc_width(), bc_width()),
                        .dt_bias = dt_bias_,
                        .a = a_,
                        .d = d_,
                        .dt_min = spec_.dt_min,
                        .dt_max = spec_.dt_max,
                        .rounded = in_proj_.rounds(pass),
                        .slot = slot_,
                        .where = where_,
                        .y = y},
            pass);
    using Order = GatedNormArgs::Order;
    lane.gated_norm({.gate = zxbcdt.columns(0, inner),
                     .y = y,
                     .weight = norm_,
                     .eps = spec_.norm ? spec_.norm->eps : 0,
                     .groups = spec_.norm_groups,
                     .order = !spec_.norm              ? Order::kGate
                              : spec_.norm_before_gate ? Order::kNormThenGate
                                                       : Order::kGateThenNorm});
  }
  return out_proj_.stage(y, spec_.output_scale, flow, pass);
}

}  // namespace klens
