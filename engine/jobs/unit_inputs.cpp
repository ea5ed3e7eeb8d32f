#include "engine/jobs/unit_inputs.h"

#include <tbb/parallel_for.h>

#include <algorithm>
#include <map>

namespace klens {
namespace {

// Of products that are summed in one pass over the windows.
constexpr int64_t kProductBytes = int64_t{1} << 30;

int64_t product_bytes(size_t cols) { return static_cast<int64_t>(cols * cols * sizeof(float)); }

// One pass over a window from a fresh state, the head included.
void observe(const Model& model, std::span<const int32_t> ids, const std::vector<Weight>& weights,
             Lane& lane) {
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

void observe_all(const Model& model, std::span<const std::vector<int32_t>> windows,
                 const std::vector<Weight>& weights, Progress& progress) {
  model.device().run([&](Lane& lane) {
    for (const std::vector<int32_t>& window : windows) {
      observe(model, window, weights, lane);
      progress.step();
    }
  });
}

}  // namespace

struct UnitInputs::Seen {
  void sum_squares(const Model& model, const Windows& windows, Progress& progress);
  void make_factors(const Model& model, const Windows& windows, Progress& progress);
  // sharing: units whose inputs are the same, by their inputs.
  void make_factors(const Model& model, const Windows& windows,
                    std::span<const std::vector<size_t>> sharing, Progress& progress);

  std::vector<std::vector<float>> squares;                  // [unit][cols], or nothing
  std::vector<std::shared_ptr<const InputFactor>> factors;  // [unit], or null
};

void UnitInputs::Seen::sum_squares(const Model& model, const Windows& windows, Progress& progress) {
  std::vector<Weight> weights = model.weights();
  std::vector<Memory> sums;
  for (Weight& weight : weights) {
    sums.emplace_back(model.device(), weight.view.cols * static_cast<int64_t>(sizeof(float)));
    weight.input_squares = Rows(sums.back().address(), 1, weight.view.cols);
  }
  progress.stage("see what columns matter", static_cast<double>(windows.size()));
  observe_all(model, windows, weights, progress);
  for (const Memory& sum : sums) {
    std::vector<float>& unit =
        squares.emplace_back(static_cast<size_t>(sum.bytes()) / sizeof(float));
    model.device().read(sum.address(), unit.data(), sum.bytes());
    if (std::ranges::all_of(unit, [](float x) { return x == 0; })) unit.clear();
  }
}

// Units with equal sums had the same inputs, and share a factor. As many as there is memory for are
// summed in one pass over the windows.
void UnitInputs::Seen::make_factors(const Model& model, const Windows& windows,
                                    Progress& progress) {
  std::map<std::vector<float>, std::vector<size_t>> same;
  for (size_t u = 0; u < squares.size(); ++u)
    if (!squares[u].empty()) same[squares[u]].push_back(u);
  std::vector<std::vector<std::vector<size_t>>> passes;  // of units that share
  int64_t bytes = kProductBytes;
  for (auto& [sums, units] : same) {
    const int64_t more = product_bytes(sums.size());
    if (bytes + more > kProductBytes) {
      passes.emplace_back();
      bytes = 0;
    }
    bytes += more;
    passes.back().push_back(std::move(units));
  }
  factors.resize(squares.size());
  progress.stage("see what columns go together",
                 static_cast<double>(passes.size() * windows.size()));
  for (const auto& pass : passes) make_factors(model, windows, pass, progress);
}

void UnitInputs::Seen::make_factors(const Model& model, const Windows& windows,
                                    std::span<const std::vector<size_t>> sharing,
                                    Progress& progress) {
  std::vector<Weight> weights = model.weights();
  std::vector<Memory> products;
  for (const std::vector<size_t>& units : sharing) {
    const size_t cols = squares[units.front()].size();
    products.emplace_back(model.device(), product_bytes(cols));
    weights[units.front()].input_products =
        Rows(products.back().address(), static_cast<int64_t>(cols), static_cast<int64_t>(cols));
  }
  observe_all(model, windows, weights, progress);
  tbb::parallel_for(size_t{0}, sharing.size(), [&](size_t i) {
    std::vector<std::byte> bytes = products[i].read();
    products[i] = Memory();
    const size_t cols = squares[sharing[i].front()].size();
    const auto factor = factor_inputs({reinterpret_cast<float*>(bytes.data()), cols * cols},
                                      static_cast<int64_t>(cols));
    for (const size_t unit : sharing[i]) factors[unit] = factor;
  });
}

UnitInputs::UnitInputs(const Model& model, const Windows& windows, Quantizer::Sees sees,
                       Progress& progress) {
  if (sees == Quantizer::Sees::kNothing) return;
  seen_ = std::make_shared<Seen>();
  seen_->sum_squares(model, windows, progress);
  if (sees == Quantizer::Sees::kFactor) seen_->make_factors(model, windows, progress);
}

InputStats UnitInputs::of(size_t unit, Quantizer::Sees sees) const {
  InputStats stats;
  if (seen_ == nullptr || sees == Quantizer::Sees::kNothing) return stats;
  stats.squares = seen_->squares[unit];
  if (sees == Quantizer::Sees::kFactor && !seen_->factors.empty())
    stats.factor = seen_->factors[unit];
  return stats;
}

InputStats UnitInputs::of(size_t unit, const Choice& choice) const {
  const Quantizer* quantizer = find_row(kQuantizers, choice.quantizer);
  return of(unit, quantizer == nullptr ? Quantizer::Sees::kNothing : quantizer->sees);
}

}  // namespace klens
