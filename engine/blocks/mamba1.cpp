#include "engine/blocks/mamba1.h"

namespace klens {

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
