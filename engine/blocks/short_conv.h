#pragma once
#include "engine/blocks/mixer.h"

namespace klens {

// LFM2's gated short convolution (arXiv 2511.23404): in_proj, the convolution between two gates,
// out_proj.
class ShortConv : public Mixer {
 public:
  ShortConv(const ShortConvSpec& spec, const MixerContext& context)
      : in_proj_(spec.in_proj, context),
        out_proj_(spec.out_proj, context),
        conv_(spec.conv_weight, spec.conv_bias, context) {}

  Rows run(const Rows& x, Flow& flow, const Pass& pass) const override {
    const int64_t rows = x.count(), width = in_proj_.rows() / 3;
    in_proj_.reach(flow);
    const Rows y = flow.take(rows, width);
    if (flow.due()) {
      const Lane::Frame frame(pass.lane);
      const Rows bcx = pass.lane.take(rows, in_proj_.rows());
      LinearInput input(x);
      in_proj_.apply(input, bcx, pass);
      advance(ShortConvArgs{.before = bcx.columns(0, width),
                            .after = bcx.columns(width, width),
                            .x = bcx.columns(2 * width, width),
                            .y = y,
                            .weight = conv_.weight(),
                            .bias = conv_.bias(),
                            .slot = conv_.slot()},
              pass);
    }
    return out_proj_.stage(y, 1, flow, pass);
  }

 private:
  Projection in_proj_, out_proj_;
  Conv1d conv_;
};

}  // namespace klens
