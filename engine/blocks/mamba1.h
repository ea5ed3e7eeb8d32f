#pragma once
#include "engine/blocks/selective_scan.h"

namespace klens {

class Mamba1 : public Mixer {
 public:
  Mamba1(const Mamba1Spec& spec, const MixerContext& context);
  const float* run(const float* x, Flow& flow, const Pass& pass) const override;

 private:
  int64_t d_model_, d_inner_;
  bool interleaved_;
  Projection in_proj_;
  SelectiveScan scan_;
  Projection out_proj_;
};

}  // namespace klens
