#pragma once
#include "engine/blocks/attention.h"
#include "engine/blocks/mlp.h"

namespace klens {

// Zamba's shared block (arXiv 2405.16712): attention and MLP over [x, embedding], then the place's
// own linear layer. Places that share it each have one of these; their units are the same.
class SharedTransformer {
 public:
  SharedTransformer(const SharedTransformerSpec& spec, const MixerContext& context);
  // [rows][d_model], to be added to the input of the place's mixer.
  Rows run(const Rows& x, Flow& flow, const Pass& pass) const;

 private:
  Norm input_norm_, mlp_norm_;
  Attention attention_;
  Mlp mlp_;
  Projection linear_;
};

}  // namespace klens
