#include "engine/blocks/block.h"

namespace klens {

Block::Block(const BlockSpec& spec, const MixerContext& context)
    : residual_scale_(spec.residual_scale),
      norm_after_(spec.norm_after),
      norm_(spec.norm, context) {
  if (spec.shared) shared_.emplace(*spec.shared, context);
  mixer_ = make_mixer(spec, context);
}

void Block::run(const Rows& x, Flow& flow, const Pass& pass) const {
  const Lane::Frame frame(pass.lane);
  if (norm_after_) {
    const Rows mixed = mixer_->run(x, flow, pass), normed = pass.lane.take(x.count(), x.width());
    norm_.run(mixed, normed, pass);
    pass.lane.add_scaled(normed, residual_scale_, x);
    return;
  }
  Rows in = x;
  const Rows shared = shared_ ? shared_->run(x, flow, pass) : Rows();
  const Rows normed = flow.take(x.count(), x.width());
  if (flow.due()) {
    if (shared_) {
      pass.lane.add(x, shared, normed);
      in = normed;
    }
    norm_.run(in, normed, pass);
  }
  pass.lane.add_scaled(mixer_->run(normed, flow, pass), residual_scale_, x);
}

}  // namespace klens
