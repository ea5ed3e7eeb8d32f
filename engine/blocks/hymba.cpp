#include "engine/blocks/hymba.h"

namespace klens {

Hymba::Hymba(const HymbaSpec& spec, const MixerContext& context)
    : d_model_(context.checkpoint.spec.d_model),
      d_inner_(spec.scan.d_inner),
      in_proj_(spec.in_proj, context.checkpoint),
      attention_(spec.attention, context),
      scan_(spec.scan, context),
      attention_norm_(spec.attention_norm, d_inner_, context.checkpoint),
      scan_norm_(spec.scan_norm, d_inner_, context.checkpoint),
      out_proj_(spec.out_proj, context.checkpoint) {
  kv_width_ = spec.attention.makes_kv ? attention_.k_width() + attention_.v_width() : 0;
}

const float* Hymba::run(const float* x, Flow& flow, const Pass& pass) const {
  const int64_t rows = pass.batch.rows, width = in_proj_.rows();
  in_proj_.reach(flow);
  float* projected = flow.take(rows * width);
  float* attended = flow.take(rows * d_inner_);
  if (flow.due()) {
    const Scratch::Frame frame(pass.scratch);
    LinearInput input(x, d_model_, rows, d_model_);
    in_proj_.apply(input, projected, width, pass);
    float* k = projected + attention_.q_width();
    attention_.run(projected, k, k + attention_.k_width(), width, in_proj_.rounds(pass), attended,
                   pass);
    attention_norm_.run(attended, d_inner_, attended, d_inner_, rows, pass);
  }
  const float* xs = projected + attention_.q_width() + kv_width_;
  const float* scanned = scan_.run(xs, width, xs + d_inner_, width, flow, pass);
  out_proj_.reach(flow);
  float* y = flow.take(rows * d_model_);
  if (!flow.due()) return y;
  const Scratch::Frame frame(pass.scratch);
  float* mean = pass.scratch.take<float>(rows * d_inner_);
  scan_norm_.run(scanned, d_inner_, mean, d_inner_, rows, pass);
  for (int64_t i = 0; i < rows * d_inner_; ++i) mean[i] = 0.5f * (attended[i] + mean[i]);
  LinearInput input(mean, d_inner_, rows, d_inner_);
  out_proj_.apply(input, y, d_model_, pass);
  return y;
}

}  // namespace klens
