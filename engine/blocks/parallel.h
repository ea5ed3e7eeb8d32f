#pragma once
#include "engine/blocks/attention.h"
#include "engine/blocks/mamba2.h"

namespace klens {

// Falcon-H1: Mamba-2 and attention on the same input, added.
class Parallel : public Mixer {
 public:
  Parallel(const ParallelSpec& spec, const MixerContext& context)
      : mamba_(spec.mamba, context), attention_(spec.attention, context) {}

  Rows run(const Rows& x, Flow& flow, const Pass& pass) const override {
    Rows a, b;
    flow.independent([&] { a = mamba_.run(x, flow, pass); });
    flow.independent([&] { b = attention_.run(x, flow, pass); });
    flow.join();
    const Rows y = flow.take(a.count(), a.width());
    if (flow.due()) pass.lane.add(a, b, y);
    return y;
  }

 private:
  Mamba2 mamba_;
  Attention attention_;
};

}  // namespace klens
