#include "engine/blocks/moe.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/cpu/linear/linear_f32.h"

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

Moe::Moe(const MoeSpec& spec, const MixerContext& context)
    : spec_(spec),
      d_model_(context.checkpoint.spec.d_model),
      router_(context.checkpoint.small_values(spec.router)),
      correction_(optional_values(spec.correction, context.checkpoint)) {
  for (const MlpSpec& expert : spec.experts) experts_.emplace_back(expert, context);
  if (spec.shared) shared_.emplace(*spec.shared, context);
  if (spec.latent) latent_.emplace(*spec.latent, context.checkpoint);
  if (spec.unlatent) unlatent_.emplace(*spec.unlatent, context.checkpoint);
}

// Nemotron-H: the best groups of experts by their two best scores, then the best experts of those.
std::vector<Moe::Choice> Moe::choose_by_sigmoid(float* scores) const {
  const int64_t count = static_cast<int64_t>(experts_.size()), group = count / spec_.groups;
  for (int64_t i = 0; i < count; ++i) scores[i] = 1 / (1 + std::exp(-scores[i]));
  std::vector<float> by_choice(scores, scores + count);
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
  for (const int64_t i : top(by_choice, spec_.top_k)) chosen.push_back({i, scores[i]});
  return chosen;
}

std::vector<Moe::Choice> Moe::choose(float* scores) const {
  const int64_t count = static_cast<int64_t>(experts_.size());
  std::vector<Choice> chosen;
  if (spec_.scores == MoeSpec::Scores::kSigmoid) {
    chosen = choose_by_sigmoid(scores);
  } else {
    if (spec_.scores == MoeSpec::Scores::kSoftmax) softmax(scores, count);
    std::vector<float> kept;
    const std::vector<int64_t> order = top({scores, scores + count}, spec_.top_k);
    for (const int64_t i : order) kept.push_back(scores[i]);
    if (spec_.scores == MoeSpec::Scores::kSoftmaxOfChosen) softmax(kept.data(), spec_.top_k);
    for (size_t i = 0; i < order.size(); ++i) chosen.push_back({order[i], kept[i]});
  }
  float sum = 0;
  for (const Choice& c : chosen) sum += c.weight;
  for (Choice& c : chosen) c.weight *= spec_.routed_scale / (spec_.normalise ? sum + 1e-20f : 1);
  return chosen;
}

std::vector<Moe::Work> Moe::route(const float* x, const Pass& pass) const {
  const int64_t rows = pass.batch.rows, count = static_cast<int64_t>(experts_.size());
  const Scratch::Frame frame(pass.scratch);
  float* scores = pass.scratch.take<float>(rows * count);
  const WeightView view{
      .layout = Layout::kRowsF32, .rows = count, .cols = d_model_, .data = router_.data()};
  cpu::best_variant(cpu::linear_f32_variants(), cpu::active())
      .run({.w = view,
            .x = x,
            .x_stride = d_model_,
            .y = scores,
            .y_stride = count,
            .tokens = rows,
            .tile_begin = 0,
            .tile_end = view.row_tiles()});
  std::vector<Work> work(experts_.size());
  for (int64_t t = 0; t < rows; ++t)
    for (const Choice& choice : choose(scores + t * count)) {
      work[static_cast<size_t>(choice.expert)].tokens.push_back(t);
      work[static_cast<size_t>(choice.expert)].weights.push_back(choice.weight);
    }
  return work;
}

void Moe::run_expert(size_t expert, const Work& work, const float* x, int64_t width, float* y,
                     Flow& flow, const Pass& pass) const {
  const int64_t count = static_cast<int64_t>(work.tokens.size());
  if (count == 0) return;
  const Scratch::Frame frame(pass.scratch);
  float* gathered = pass.scratch.take<float>(count * width);
  for (int64_t i = 0; i < count; ++i)
    std::copy_n(x + work.tokens[static_cast<size_t>(i)] * width, width, gathered + i * width);
  const float* out = experts_[expert].run(gathered, count, flow, pass);
  for (int64_t i = 0; i < count; ++i) {
    float* to = y + work.tokens[static_cast<size_t>(i)] * width;
    for (int64_t c = 0; c < width; ++c)
      to[c] += work.weights[static_cast<size_t>(i)] * out[i * width + c];
  }
}

const float* Moe::run(const float* x, Flow& flow, const Pass& pass) const {
  const int64_t rows = pass.batch.rows;
  const std::vector<Work> work = route(x, pass);
  const float* in = x;
  int64_t width = d_model_;
  if (latent_) {
    width = latent_->rows();
    in = latent_->stage(x, rows, 1, flow, pass);
  }
  // Sums are small beside the experts' products, so they are made anew in every pass.
  float* mixed = pass.scratch.take<float>(rows * width);
  std::fill_n(mixed, rows * width, 0.0f);
  for (size_t e = 0; e < experts_.size(); ++e)
    flow.independent([&] { run_expert(e, work[e], in, width, mixed, flow, pass); });
  const float* shared = nullptr;
  if (shared_) flow.independent([&] { shared = shared_->run(x, flow, pass); });
  flow.join();
  if (unlatent_) unlatent_->reach(flow);
  float* y = flow.take(rows * d_model_);
  if (!flow.due()) return y;
  if (unlatent_) {
    LinearInput input(mixed, width, rows, width);
    unlatent_->apply(input, y, d_model_, pass);
  } else {
    std::copy_n(mixed, rows * d_model_, y);
  }
  if (shared != nullptr) add_scaled(y, shared, 1, rows * d_model_, pass);
  return y;
}

}  // namespace klens
