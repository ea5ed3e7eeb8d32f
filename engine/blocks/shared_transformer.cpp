#include "engine/blocks/shared_transformer.h"

#include <algorithm>

namespace klens {

SharedTransformer::SharedTransformer(const SharedTransformerSpec& spec, const MixerContext& context)
    : d_model_(context.checkpoint.spec.d_model),
      input_norm_(spec.input_norm, 2 * d_model_, context.checkpoint),
      mlp_norm_(spec.mlp_norm, d_model_, context.checkpoint),
      attention_(spec.attention, context),
      mlp_(spec.mlp, context),
      linear_(spec.linear, context.checkpoint) {}

const float* SharedTransformer::run(const float* x, Flow& flow, const Pass& pass) const {
  const int64_t rows = pass.batch.rows, width = 2 * d_model_;
  float* both = flow.take(rows * width);
  if (flow.due()) {
    over_rows(pass, rows, width, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        std::copy_n(x + t * d_model_, d_model_, both + t * width);
        std::copy_n(pass.batch.embedded + t * d_model_, d_model_, both + t * width + d_model_);
      }
    });
    input_norm_.run(both, width, both, width, rows, pass);
  }
  const float* attended = attention_.run(both, flow, pass);
  float* normed = flow.take(rows * d_model_);
  if (flow.due()) mlp_norm_.run(attended, d_model_, normed, d_model_, rows, pass);
  const float* transformed = mlp_.run(normed, flow, pass);
  return linear_.stage(transformed, rows, 1, flow, pass);
}

}  // namespace klens
