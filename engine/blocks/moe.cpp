#include "engine/blocks/moe.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace klens {
namespace {

void softmax(float* x, int64_t count) {
  const float top = *std::max_element(x, x + count);
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += x[i] = std::exp(x[i] - top);
  for (int64_t i = 0; i < count; ++i) x[i] = static_cast<float>(x[i] / sum);
}

// The k largest, the smaller index first among equals, as indices.
std::vector<int64_t> top(const std::vector<float>& scores, int64_t k) {
  std::vector<int64_t> order(scores.size());
  std::iota(order.begin(), order.end(), int64_t{0});
  std::partial_sort(order.begin(), order.begin() + k, order.end(), [&](int64_t a, int64_t b) {
    const float x = scores[static_cast<size_t>(a)], y = scores[static_cast<size_t>(b)];
    return x != y ? x > y : a < b;
  });
  order.resize(static_cast<size_t>(k));
  return order;
}

}  // namespace

Moe::Moe(const MoeSpec& spec, const MixerContext& context) : spec_(spec) {
  const int64_t rows = static_cast<int64_t>(spec.experts.size()) + (spec.shared_gate ? 1 : 0);
  std::vector<float> weights = context.checkpoint.small_values(spec.router);
  if (spec.shared_gate) {
    const std::vector<float> gate = context.checkpoint.small_values(*spec.shared_gate);
    weights.insert(weights.end(), gate.begin(), gate.end());
  }
  const Rows router = context.constants.put(weights);
  router_.view = {.layout = Layout::kRowsF32,
                  .rows = rows,
                  .cols = router.width() / rows,
                  .data = reinterpret_cast<const void*>(router.address())};
  if (spec.correction) correction_ = context.checkpoint.small_values(*spec.correction);
  for (const MlpSpec& expert : spec.experts) experts_.emplace_back(expert, context);
  if (spec.shared) shared_.emplace(*spec.shared, context);
  if (spec.latent) latent_.emplace(*spec.latent, context);
  if (spec.unlatent) unlatent_.emplace(*spec.unlatent, context);
}

// Nemotron-H: the best groups of experts by their two best scores, then the best experts of those.
std::vector<Moe::Choice> Moe::choose_by_sigmoid(std::vector<float>& scores) const {
  const int64_t count = static_cast<int64_t>(experts_.size()), group = count / spec_.groups;
  for (float& score : scores) score = 1 / (1 + std::exp(-score));
  std::vector<float> by_choice = scores;
  for (size_t i = 0; i < correction_.size(); ++i) by_choice[i] += correction_[i];
  if (spec_.top_groups < spec_.groups) {
    std::vector<float> group_scores;
    for (int64_t g = 0; g < spec_.groups; ++g) {
      const std::vector<float> own(by_choice.begin() + g * group,
                                   by_choice.begin() + (g + 1) * group);
      float sum = 0;
      for (const int64_t i : top(own, std::min<int64_t>(2, group)))
        sum += own[static_cast<size_t>(i)];
      group_scores.push_back(sum);
    }
    std::vector<bool> open(static_cast<size_t>(spec_.groups));
    for (const int64_t g : top(group_scores, spec_.top_groups)) open[static_cast<size_t>(g)] = true;
    for (int64_t i = 0; i < count; ++i)
      if (!open[static_cast<size_t>(i / group)]) by_choice[static_cast<size_t>(i)] = -INFINITY;
  }
  std::vector<Choice> chosen;
  for (const int64_t i : top(by_choice, spec_.top_k))
    chosen.push_back({i, scores[static_cast<size_t>(i)]});
  return chosen;
}

std::vector<Moe::Choice> Moe::choose(std::vector<float> scores) const {
  std::vector<Choice> chosen;
  if (spec_.scores == MoeSpec::Scores::kSigmoid) {
    chosen = choose_by_sigmoid(scores);
  } else {
    if (spec_.scores == MoeSpec::Scores::kSoftmax)
      softmax(scores.data(), static_cast<int64_t>(scores.size()));
    std::vector<float> kept;
    const std::vector<int64_t> order = top(scores, spec_.top_k);
    for (const int64_t i : order) kept.push_back(scores[static_cast<size_t>(i)]);
    if (spec_.scores == MoeSpec::Scores::kSoftmaxOfChosen) softmax(kept.data(), spec_.top_k);
    for (size_t i = 0; i < order.size(); ++i) chosen.push_back({order[i], kept[i]});
  }
  float sum = 0;
  for (const Choice& c : chosen) sum += c.weight;
  const float divisor = spec_.normalise ? sum + spec_.normalise_eps : 1;
  for (Choice& c : chosen) c.weight *= spec_.routed_scale / divisor;
  return chosen;
}

Moe::Routes Moe::route(const Rows& x, const Pass& pass) const {
  const int64_t count = static_cast<int64_t>(experts_.size()), width = router_.view.rows;
  const Lane::Frame frame(pass.lane);
  const Rows scored = pass.lane.take(x.count(), width);
  LinearInput input(x);
  pass.lane.linear({&router_, 1}, input, {}, scored);
  const float* scores = pass.lane.host(scored);
  Routes routes{.experts = std::vector<Work>(experts_.size()), .shared = {}};
  for (int64_t t = 0; t < x.count(); ++t) {
    const float* own = scores + t * width;
    for (const Choice& choice : choose({own, own + count})) {
      Work& work = routes.experts[static_cast<size_t>(choice.expert)];
      work.tokens.push_back(t);
      work.weights.push_back(choice.weight);
    }
    if (!spec_.shared_gate) continue;
    routes.shared.tokens.push_back(t);
    routes.shared.weights.push_back(1 / (1 + std::exp(-own[count])));
  }
  return routes;
}

void Moe::run_expert(size_t expert, const Work& work, const Rows& x, const Rows& y, Flow& flow,
                     const Pass& pass) const {
  if (work.tokens.empty()) return;
  const Lane::Frame frame(pass.lane);
  const Rows own = pass.lane.take(static_cast<int64_t>(work.tokens.size()), x.width());
  pass.lane.gather(x, work.tokens, own);
  pass.lane.scatter_add(experts_[expert].run(own, flow, pass), work.tokens, work.weights, y);
}

Rows Moe::run(const Rows& x, Flow& flow, const Pass& pass) const {
  Lane& lane = pass.lane;
  const Routes routes = route(x, pass);
  const Rows in = latent_ ? latent_->stage(x, 1, flow, pass) : x;
  // Sums are small beside the experts' products, so they are made anew in every pass.
  const Rows mixed = lane.take(x.count(), in.width());
  lane.zero(mixed);
  for (size_t e = 0; e < experts_.size(); ++e)
    flow.independent([&] { run_expert(e, routes.experts[e], in, mixed, flow, pass); });
  Rows shared;
  if (shared_) flow.independent([&] { shared = shared_->run(x, flow, pass); });
  flow.join();
  if (unlatent_) unlatent_->reach(flow);
  const Rows y = flow.take(x.count(), x.width());
  if (!flow.due()) return y;
  if (unlatent_) {
    LinearInput input(mixed);
    unlatent_->apply(input, y, pass);
  } else {
    lane.copy(mixed, y);
  }
  if (spec_.shared_gate)
    lane.scatter_add(shared, routes.shared.tokens, routes.shared.weights, y);
  else if (shared_)
    lane.add_scaled(shared, 1, y);
  return y;
}

}  // namespace klens
