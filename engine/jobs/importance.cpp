#include "engine/jobs/importance.h"

#include <algorithm>

namespace klens {
namespace {

// One pass over a window from a fresh state, the head included.
void observe(const Model& model, const std::vector<int32_t>& ids,
             const std::vector<Weight>& weights, Lane& lane) {
  const Lane::Frame frame(lane);
  const int64_t tokens = static_cast<int64_t>(ids.size()), rows = model.prefix_rows() + tokens;
  SequenceState state = model.transient_state();
  const Sequence sequence{
      .state = &state, .row = 0, .tokens = rows, .position = 0, .horizon = rows};
  const Rows x = lane.take(rows, model.spec().d_model);
  model.run({.ids = ids, .sequences = {&sequence, 1}, .weights = weights}, x, lane);
  stream_logits(model, x.rows(model.prefix_rows(), tokens), weights, lane,
                [](int64_t, const Rows&) {});
}

}  // namespace

Importance measure_importance(const Model& model, const Windows& windows, Progress& progress) {
  std::vector<Weight> weights = model.weights();
  std::vector<Memory> sums;
  for (Weight& weight : weights) {
    sums.emplace_back(model.device(), weight.view.cols * static_cast<int64_t>(sizeof(float)));
    weight.input_squares = Rows(sums.back().address(), 1, weight.view.cols);
  }
  progress.stage("see what columns matter", static_cast<double>(windows.size()));
  model.device().run([&](Lane& lane) {
    for (const std::vector<int32_t>& window : windows) {
      observe(model, window, weights, lane);
      progress.step();
    }
  });
  std::vector<std::vector<float>> units;
  for (const Memory& sum : sums) {
    std::vector<float>& unit = units.emplace_back(static_cast<size_t>(sum.bytes()) / sizeof(float));
    model.device().read(sum.address(), unit.data(), sum.bytes());
    if (std::ranges::all_of(unit, [](float x) { return x == 0; })) unit.clear();
  }
  return Importance(std::move(units));
}

}  // namespace klens
