#pragma once
#include <optional>

#include "engine/blocks/mixer.h"
#include "engine/blocks/shared_transformer.h"

namespace klens {

// One residual step: x += residual_scale * mixer(norm(x + shared([x, embedding]))), or
// norm(mixer(x)).
class Block {
 public:
  Block(const BlockSpec& spec, const MixerContext& context);
  void run(const Rows& x, Flow& flow, const Pass& pass) const;  // x: [rows][d_model]

 private:
  float residual_scale_;
  bool norm_after_;
  Norm norm_;
  std::optional<SharedTransformer> shared_;
  std::unique_ptr<Mixer> mixer_;
};

}  // namespace klens
