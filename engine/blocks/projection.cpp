#include "engine/blocks/projection.h"

#include <algorithm>

#include "engine/blocks/mixer.h"

namespace klens {

Rows scaled(const Rows& x, float by, const Pass& pass) {
  if (by == 1) return x;
  const Rows product = pass.lane.take(x.count(), x.width());
  pass.lane.scale(x, by, product);
  return product;
}

Projection::Projection(const ProjectionSpec& spec, const MixerContext& context)
    : spec_(spec), matrix_(context.matrix(spec.matrix)), bias_(context.values(spec.bias)) {
  if (!spec.adapter) return;
  down_ = context.matrix(spec.adapter->down);
  up_ = context.matrix(spec.adapter->up);
}

bool Projection::rounds(const Pass& pass) const {
  return std::ranges::all_of(units_of(matrix_, pass.weights), [](const Weight& weight) {
    return weight.bf16 || (weight.activation_group != 0 && weight.activation_planes == 1);
  });
}

void Projection::reach(Flow& flow) const {
  flow.reach(spec_.matrix);
  if (!spec_.adapter) return;
  flow.reach(spec_.adapter->down);
  flow.reach(spec_.adapter->up);
}

void Projection::apply(LinearInput& x, const Rows& y, const Pass& pass) const {
  Lane& lane = pass.lane;
  lane.linear(units_of(matrix_, pass.weights), x, bias_, y);
  if (!spec_.adapter) return;
  const int64_t tokens = x.x.count();
  LinearInput low(lane.take(tokens, down_.rows));
  const Rows high = lane.take(tokens, rows());
  lane.linear(units_of(down_, pass.weights), x, {}, low.x);
  lane.linear(units_of(up_, pass.weights), low, {}, high);
  lane.add_scaled(high, 1, y);
}

Rows Projection::stage(const Rows& x, float by, Flow& flow, const Pass& pass) const {
  reach(flow);
  const Rows y = flow.take(x.count(), rows());
  if (!flow.due()) return y;
  const Lane::Frame frame(pass.lane);
  LinearInput input(x);
  apply(input, y, pass);
  if (by != 1) pass.lane.scale(y, by, y);
  return y;
}

Projections::Projections(const std::vector<ProjectionSpec>& specs, const MixerContext& context) {
  for (const ProjectionSpec& spec : specs) {
    parts_.emplace_back(spec, context);
    rows_ += parts_.back().rows();
  }
}

void Projections::reach(Flow& flow) const {
  for (const Projection& part : parts_) part.reach(flow);
}

bool Projections::rounds(const Pass& pass) const {
  return std::all_of(parts_.begin(), parts_.end(),
                     [&](const Projection& part) { return part.rounds(pass); });
}

void Projections::apply(LinearInput& x, const Rows& y, const Pass& pass) const {
  int64_t at = 0;
  for (const Projection& part : parts_) {
    part.apply(x, y.columns(at, part.rows()), pass);
    at += part.rows();
  }
}

}  // namespace klens
