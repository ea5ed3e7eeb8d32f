#include "engine/blocks/attention.h"

#include <array>

namespace klens {

AttentionCore::AttentionCore(const AttentionCoreSpec& spec, const MixerContext& context)
    : spec_(spec),
      cache_(context.checkpoint.spec.caches[spec.cache]),
      q_norm_(context.values(spec.q_norm)),
      k_norm_(context.values(spec.k_norm)) {}

void AttentionCore::norm(const Rows& x, int64_t heads, const std::optional<NormSpec>& norm,
                         const Rows& weight, const Pass& pass) const {
  if (norm)
    pass.lane.norm({.x = x,
                    .y = x,
                    .weight = weight,
                    .eps = norm->eps,
                    .heads = spec_.norm_over_heads ? 1 : heads});
}

void AttentionCore::rotate(const Rows& x, int64_t heads, const Pass& pass) const {
  if (spec_.rope) pass.lane.rope(x, heads, pass.batch.ropes[*spec_.rope]);
}

void AttentionCore::run(const Rows& q, const Rows& kv, bool rounded, const Rows& y,
                        const Pass& pass) const {
  norm(q, spec_.heads, spec_.q_norm, q_norm_, pass);
  if (spec_.makes_kv) {
    const Rows k = kv.columns(0, k_width());
    if (spec_.key_scale != 1) pass.lane.scale(k, spec_.key_scale, k);
    norm(k, cache_.kv_heads, spec_.k_norm, k_norm_, pass);
    // Rotations and what stores keys are one after the other, as devices may do them together.
    rotate(q, spec_.heads, pass);
    rotate(k, cache_.kv_heads, pass);
    store_kv(spec_.cache, k, kv.columns(k_width(), v_width()), pass);
  } else {
    rotate(q, spec_.heads, pass);
  }
  attend({.q = q,
          .y = y,
          .cache = spec_.cache,
          .spec = cache_,
          .heads = spec_.heads,
          .scale = spec_.scale,
          .rounded = rounded},
         pass);
}

Attention::Attention(const AttentionSpec& spec, const MixerContext& context)
    : input_scale_(spec.input_scale),
      output_scale_(spec.output_scale),
      gated_(spec.gated),
      qkv_(spec.qkv, context),
      core_(spec.core, context),
      o_proj_(spec.o_proj, context) {}

Attention::Parts Attention::parts(const Rows& projected, const Pass& pass) const {
  const int64_t width = core_.q_width(), rows = projected.count();
  if (!gated_) return {projected.columns(0, width), {}, projected.columns(width, core_.kv_width())};
  const Parts made{pass.lane.take(rows, width), pass.lane.take(rows, width),
                   projected.columns(2 * width, core_.kv_width())};
  pass.lane.deinterleave(projected.columns(0, 2 * width), core_.heads(),
                         std::array{made.q, made.gate});
  return made;
}

Rows Attention::run(const Rows& x, Flow& flow, const Pass& pass) const {
  qkv_.reach(flow);
  const Rows attended = flow.take(x.count(), core_.y_width());
  if (flow.due()) {
    const Lane::Frame frame(pass.lane);
    const Rows qkv = pass.lane.take(x.count(), qkv_.rows());
    LinearInput input(scaled(x, input_scale_, pass));
    qkv_.apply(input, qkv, pass);
    // It is not o_proj that decides: a student of that is given what its teacher attended to.
    const Parts made = parts(qkv, pass);
    core_.run(made.q, made.kv, qkv_.rounds(pass), attended, pass);
    if (gated_)
      pass.lane.gated_norm({.gate = made.gate,
                            .y = attended,
                            .weight = {},
                            .eps = 0,
                            .groups = 1,
                            .order = GatedNormArgs::Order::kGate,
                            .sigmoid = true});
  }
  return o_proj_.stage(attended, output_scale_, flow, pass);
}

}  // namespace klens
