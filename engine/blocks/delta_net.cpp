#include "engine/blocks/delta_net.h"

#include <array>
#include <cmath>

namespace klens {
namespace {

std::vector<float> rates(std::vector<float> a_log) {
  for (float& a : a_log) a = -std::exp(a);
  return a_log;
}

}  // namespace

DeltaNet::DeltaNet(const DeltaNetSpec& spec, const MixerContext& context)
    : spec_(spec), in_(spec.in, context), out_proj_(spec.out_proj, context) {
  for (const SmallId weight : spec.conv_weights) convs_.emplace_back(weight, std::nullopt, context);
  slot_ = context.slot({.kind = StateSlot::Kind::kDeltaRule,
                        .channels = values(),
                        .heads = spec.heads,
                        .groups = spec.key_heads,
                        .states = spec.k_dim});
  dt_bias_ = context.values(spec.dt_bias);
  rate_ = context.constants.put(rates(context.checkpoint.small_values(spec.a_log)));
  norm_ = context.values(spec.norm, spec.heads);
}

Rows DeltaNet::in_order(const Rows& projected, const Pass& pass) const {
  if (!spec_.interleaved) return projected;
  const Rows all = pass.lane.take(projected.count(), projected.width());
  const int64_t qkvz = 2 * keys() + 2 * values(), heads = spec_.heads;
  const std::array first{all.columns(0, keys()), all.columns(keys(), keys()),
                         all.columns(2 * keys(), values()),
                         all.columns(2 * keys() + values(), values())};
  const std::array second{all.columns(qkvz, heads), all.columns(qkvz + heads, heads)};
  pass.lane.deinterleave(projected.columns(0, qkvz), spec_.key_heads, first);
  pass.lane.deinterleave(projected.columns(qkvz, 2 * heads), spec_.key_heads, second);
  return all;
}

Rows DeltaNet::convolve(const Rows& qkv, const Pass& pass) const {
  const Rows made = pass.lane.take(qkv.count(), qkv.width());
  int64_t at = 0;
  for (const Conv1d& conv : convs_) {
    const int64_t channels = conv.weight().width();
    conv.run(qkv.columns(at, channels), made.columns(at, channels), pass);
    at += channels;
  }
  return made;
}

Rows DeltaNet::run(const Rows& x, Flow& flow, const Pass& pass) const {
  const int64_t rows = x.count(), heads = spec_.heads;
  Lane& lane = pass.lane;
  in_.reach(flow);
  const Rows y = flow.take(rows, values());
  if (flow.due()) {
    const Lane::Frame frame(lane);
    const Rows projected = lane.take(rows, in_.rows());
    LinearInput input(x);
    in_.apply(input, projected, pass);
    const Rows all = in_order(projected, pass);
    const Rows qkv = convolve(all.columns(0, 2 * keys() + values()), pass);
    const int64_t z = 2 * keys() + values(), b = z + values();
    // As with Mamba-2, what was made of 8-bit activations is no more precise than BF16.
    advance(DeltaRuleArgs{.q = qkv.columns(0, keys()),
                          .k = qkv.columns(keys(), keys()),
                          .v = qkv.columns(2 * keys(), values()),
                          .decay = all.columns(b + heads, heads),
                          .beta = all.columns(b, heads),
                          .decay_bias = dt_bias_,
                          .rate = rate_,
                          .beta_scale = spec_.beta_scale,
                          .tiled = spec_.tiled,
                          .rounded = in_.rounds(pass),
                          .slot = slot_,
                          .y = y},
            pass);
    lane.gated_norm({.gate = all.columns(z, values()),
                     .y = y,
                     .weight = norm_,
                     .eps = spec_.norm.eps,
                     .groups = heads,
                     .order = GatedNormArgs::Order::kNormThenGate});
  }
  return out_proj_.stage(y, 1, flow, pass);
}

}  // namespace klens
