#include "engine/jobs/unit_inputs.h"

#include <tbb/parallel_for.h>

#include <algorithm>
#include <map>

#include "engine/jobs/stages.h"

namespace klens {
namespace {

int64_t product_bytes(int64_t cols) { return cols * cols * static_cast<int64_t>(sizeof(float)); }

// One pass over a window from a fresh state; the head only looks.
void observe(const Model& model, std::span<const int32_t> ids, const std::vector<Weight>& weights,
             Lane& lane) {
  const Lane::Frame frame(lane);
  const int64_t tokens = static_cast<int64_t>(ids.size()), rows = model.prefix_rows() + tokens;
  SequenceState state = model.transient_state();
  const Sequence sequence{
      .state = &state, .row = 0, .tokens = rows, .position = 0, .horizon = rows};
  const Rows x = lane.take(rows, model.spec().d_model);
  model.run({.ids = ids, .sequences = {&sequence, 1}, .weights = weights}, x, lane);
  model.look_at_head(x.rows(model.prefix_rows(), tokens), weights, lane);
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
  std::vector<std::vector<float>> squares;                  // [unit][cols], or nothing
  std::vector<std::shared_ptr<const InputFactor>> factors;  // [unit], or null
};

namespace {

using Groups = std::vector<std::vector<size_t>>;  // of units

// Sums of the inputs' squares of every unit, which passes add to.
class Squares {
 public:
  explicit Squares(const Model& model) : device_(model.device()) {
    for (const LinearSpec& unit : model.units())
      sums_.emplace_back(device_, unit.cols * static_cast<int64_t>(sizeof(float)));
  }
  void add_to(std::vector<Weight>& weights) const {
    for (size_t u = 0; u < sums_.size(); ++u)
      weights[u].input_squares = Rows(sums_[u].address(), 1, weights[u].view.cols);
  }
  // [unit][cols]; nothing of a unit that multiplied nothing but zeros.
  std::vector<std::vector<float>> read() const {
    std::vector<std::vector<float>> all;
    for (const Memory& sum : sums_) {
      std::vector<float>& unit = all.emplace_back(static_cast<size_t>(sum.bytes()) / sizeof(float));
      device_.read(sum.address(), unit.data(), sum.bytes());
      if (std::ranges::all_of(unit, [](float x) { return x == 0; })) unit.clear();
    }
    return all;
  }

 private:
  Device& device_;
  std::vector<Memory> sums_;
};

// Of as many windows as tell which units have the same inputs: one, but where experts are chosen by
// token, as two may be chosen for the same few.
std::vector<std::vector<float>> first_squares(const Model& model, const Windows& windows,
                                              Progress& progress) {
  const bool experts = std::ranges::any_of(model.spec().blocks, [](const BlockSpec& block) {
    return std::holds_alternative<MoeSpec>(block.mixer);
  });
  const std::span<const std::vector<int32_t>> some =
      std::span(windows).first(experts ? windows.size() : 1);
  const Squares squares(model);
  std::vector<Weight> weights = model.weights();
  squares.add_to(weights);
  progress.stage(stages::kAlike, static_cast<double>(some.size()));
  observe_all(model, some, weights, progress);
  return squares.read();
}

// Units with equal sums over some windows had the same inputs, and share their products. As many
// are summed in one pass as there is memory for.
std::vector<Groups> passes_of(const std::vector<std::vector<float>>& squares, const Model& model,
                              int64_t most_bytes) {
  std::map<std::vector<float>, std::vector<size_t>> same;
  for (size_t u = 0; u < squares.size(); ++u)
    if (!squares[u].empty()) same[squares[u]].push_back(u);
  std::vector<Groups> passes;
  int64_t bytes = most_bytes;
  for (auto& [sums, units] : same) {
    const int64_t more = product_bytes(model.units()[units.front()].cols);
    if (bytes + more > most_bytes) {
      passes.emplace_back();
      bytes = 0;
    }
    bytes += more;
    passes.back().push_back(std::move(units));
  }
  return passes;
}

// One pass over the windows for the factors of some groups; `weights` may sum more.
void make_factors(const Model& model, const Windows& windows, const Groups& groups,
                  std::vector<Weight> weights,
                  std::vector<std::shared_ptr<const InputFactor>>& factors, Progress& progress) {
  std::vector<Memory> products;
  for (const std::vector<size_t>& units : groups) {
    const int64_t cols = model.units()[units.front()].cols;
    products.emplace_back(model.device(), product_bytes(cols));
    weights[units.front()].input_products = Rows(products.back().address(), cols, cols);
  }
  observe_all(model, windows, weights, progress);
  tbb::parallel_for(size_t{0}, groups.size(), [&](size_t i) {
    std::vector<std::byte> bytes = products[i].read();
    products[i] = Memory();
    const int64_t cols = model.units()[groups[i].front()].cols;
    const std::span<float> sums(reinterpret_cast<float*>(bytes.data()),
                                static_cast<size_t>(cols * cols));
    const auto factor = factor_inputs(sums, cols);
    for (const size_t unit : groups[i]) factors[unit] = factor;
  });
}

}  // namespace

std::vector<int64_t> columns_of_inputs(const Model& model, std::span<const int32_t> ids) {
  const Squares squares(model);
  std::vector<Weight> weights = model.weights();
  squares.add_to(weights);
  model.device().run([&](Lane& lane) { observe(model, ids, weights, lane); });
  std::vector<int64_t> columns;
  for (const Groups& groups : passes_of(squares.read(), model, 0))
    for (const std::vector<size_t>& units : groups)
      columns.push_back(model.units()[units.front()].cols);
  return columns;
}

UnitInputs::UnitInputs(const Model& model, const Windows& windows, Quantizer::Sees sees,
                       Progress& progress, int64_t product_bytes) {
  if (sees == Quantizer::Sees::kNothing || windows.empty()) return;
  seen_ = std::make_shared<Seen>();
  const Squares squares(model);
  std::vector<Weight> weights = model.weights();
  squares.add_to(weights);
  if (sees == Quantizer::Sees::kSquares) {
    progress.stage(stages::kColumns, static_cast<double>(windows.size()));
    observe_all(model, windows, weights, progress);
    seen_->squares = squares.read();
    return;
  }
  const std::vector<Groups> passes =
      passes_of(first_squares(model, windows, progress), model, product_bytes);
  progress.stage(stages::kTogether, static_cast<double>(passes.size() * windows.size()));
  seen_->factors.resize(weights.size());
  for (size_t p = 0; p < passes.size(); ++p)
    make_factors(model, windows, passes[p], p == 0 ? weights : model.weights(), seen_->factors,
                 progress);
  seen_->squares = squares.read();
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
