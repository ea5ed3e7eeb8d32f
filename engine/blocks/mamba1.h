#pragma once
#include <array>

#include "engine/blocks/selective_scan.h"

namespace klens {

// Mamba-1 (arXiv 2312.00752): in_proj, the selective scan and all about it, out_proj.
class Mamba1 : public Mixer {
 public:
  Mamba1(const Mamba1Spec& spec, const MixerContext& context)
      : interleaved_(spec.interleaved),
        in_proj_(spec.in_proj, context),
        scan_(spec.scan, context),
        out_proj_(spec.out_proj, context) {}

  Rows run(const Rows& x, Flow& flow, const Pass& pass) const override {
    const int64_t inner = in_proj_.rows() / 2;
    in_proj_.reach(flow);
    const Rows xz = flow.take(x.count(), 2 * inner);
    if (flow.due()) {
      const Lane::Frame frame(pass.lane);
      LinearInput input(x);
      const Rows projected = interleaved_ ? pass.lane.take(x.count(), 2 * inner) : xz;
      in_proj_.apply(input, projected, pass);
      if (interleaved_)
        pass.lane.deinterleave(projected, inner,
                               std::array{xz.columns(0, inner), xz.columns(inner, inner)});
    }
    const Rows gated = scan_.run(xz.columns(0, inner), xz.columns(inner, inner), flow, pass);
    return out_proj_.stage(gated, 1, flow, pass);
  }

 private:
  bool interleaved_;
  Projection in_proj_;
  SelectiveScan scan_;
  Projection out_proj_;
};

}  // namespace klens
