#include "engine/blocks/hymba.h"

namespace klens {

Hymba::Hymba(const HymbaSpec& spec, const MixerContext& context)
    : d_inner_(spec.scan.d_inner),
      in_proj_(spec.in_proj, context),
      attention_(spec.attention, context),
      scan_(spec.scan, context),
      attention_norm_(spec.attention_norm, context),
      scan_norm_(spec.scan_norm, context),
      out_proj_(spec.out_proj, context) {}

Rows Hymba::run(const Rows& x, Flow& flow, const Pass& pass) const {
  const int64_t rows = x.count(), q = attention_.q_width(), qkv = q + attention_.kv_width();
  Lane& lane = pass.lane;
  in_proj_.reach(flow);
  const Rows projected = flow.take(rows, in_proj_.rows());
  const Rows attended = flow.take(rows, d_inner_);
  if (flow.due()) {
    const Lane::Frame frame(lane);
    LinearInput input(x);
    in_proj_.apply(input, projected, pass);
    attention_.run(projected.columns(0, q), projected.columns(q, qkv - q), in_proj_.rounds(pass),
                   attended, pass);
    attention_norm_.run(attended, attended, pass);
  }
  const Rows scanned = scan_.run(projected.columns(qkv, d_inner_),
                                 projected.columns(qkv + d_inner_, d_inner_), flow, pass);
  out_proj_.reach(flow);
  const Rows y = flow.take(rows, out_proj_.rows());
  if (!flow.due()) return y;
  const Lane::Frame frame(lane);
  LinearInput mean(lane.take(rows, d_inner_));
  scan_norm_.run(scanned, mean.x, pass);
  lane.mean(attended, mean.x, mean.x);
  out_proj_.apply(mean, y, pass);
  return y;
}

}  // namespace klens
