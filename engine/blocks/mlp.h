#pragma once
#include "engine/blocks/mixer.h"

namespace klens {

class Mlp : public Mixer {
 public:
  Mlp(const MlpSpec& spec, const MixerContext& context)
      : spec_(spec), in_(spec.in, context), down_(spec.down, context) {}

  // x: any rows; an expert's are some of the batch's.
  Rows run(const Rows& x, Flow& flow, const Pass& pass) const override {
    in_.reach(flow);
    const Rows hidden = flow.take(x.count(), spec_.d_inner);
    if (flow.due()) {
      const Lane::Frame frame(pass.lane);
      const Rows projected = pass.lane.take(x.count(), in_.rows());
      LinearInput input(x);
      in_.apply(input, projected, pass);
      pass.lane.activate({.activation = spec_.activation,
                          .gated = spec_.gated,
                          .gate_scale = spec_.gate_scale,
                          .projected = projected,
                          .y = hidden});
    }
    return down_.stage(hidden, spec_.output_scale, flow, pass);
  }

 private:
  MlpSpec spec_;
  Projections in_;
  Projection down_;
};

}  // namespace klens
