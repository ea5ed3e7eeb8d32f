#pragma once
#include "engine/blocks/mixer.h"

namespace klens {

class Mlp : public Mixer {
 public:
  Mlp(const MlpSpec& spec, const MixerContext& context);
  const float* run(const float* x, Flow& flow, const Pass& pass) const override;
  // The same for any rows [count][input width], which need not be the batch's: an expert's tokens.
  const float* run(const float* x, int64_t count, Flow& flow, const Pass& pass) const;

 private:
  void activate(const float* projected, int64_t count, float* y, const Pass& pass) const;

  MlpSpec spec_;
  int64_t d_in_;
  Projections in_;
  Projection down_;
};

}  // namespace klens
