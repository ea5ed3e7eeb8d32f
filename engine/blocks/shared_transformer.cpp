#include "engine/blocks/shared_transformer.h"

namespace klens {

SharedTransformer::SharedTransformer(const SharedTransformerSpec& spec, const MixerContext& context)
    : input_norm_(spec.input_norm, context),
      mlp_norm_(spec.mlp_norm, context),
      attention_(spec.attention, context),
      mlp_(spec.mlp, context),
      linear_(spec.linear, context) {}

Rows SharedTransformer::run(const Rows& x, Flow& flow, const Pass& pass) const {
  const int64_t rows = x.count(), d_model = x.width();
  const Rows both = flow.take(rows, 2 * d_model);
  if (flow.due()) {
    pass.lane.copy(x, both.columns(0, d_model));
    pass.lane.copy(pass.batch.embedded, both.columns(d_model, d_model));
    input_norm_.run(both, both, pass);
  }
  const Rows attended = attention_.run(both, flow, pass);
  const Rows normed = flow.take(rows, d_model);
  if (flow.due()) mlp_norm_.run(attended, normed, pass);
  return linear_.stage(mlp_.run(normed, flow, pass), 1, flow, pass);
}

}  // namespace klens
