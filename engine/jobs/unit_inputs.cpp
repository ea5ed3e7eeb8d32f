#include "engine/jobs/unit_inputs.h"

#include <tbb/parallel_for.h>

#include <algorithm>
#include <map>

#include "engine/jobs/stages.h"

namespace klens {
namespace {

int64_t product_bytes(int64_t cols) { return cols * cols * static_cast<int64_t>(sizeof(float)); }

// Takes a window's stream from place to place: these are blocks and, after the last, the head,
// which only looks. From the first on it is made of the ids.
void walk(const Model& model, std::span<const int32_t> ids, const Rows& x, int64_t first,
          int64_t end, const std::vector<Weight>& weights, Lane& lane) {
  const Lane::Frame frame(lane);
  SequenceState state = model.transient_state();
  const Sequence sequence{
      .state = &state, .row = 0, .tokens = x.count(), .position = 0, .horizon = x.count()};
  const int64_t blocks = model.blocks();
  PassRequest request{.ids = ids, .sequences = {&sequence, 1}, .weights = weights};
  request.first_block = first;
  if (end < blocks) request.end_block = end;
  if (first < std::min(end, blocks)) model.run(request, x, lane);
  const int64_t prefix = model.prefix_rows();
  if (end > blocks) model.look_at_head(x.rows(prefix, x.count() - prefix), weights, lane);
}

// Through all places.
void observe(const Model& model, std::span<const int32_t> ids, const std::vector<Weight>& weights,
             Lane& lane) {
  const Lane::Frame frame(lane);
  const int64_t rows = model.prefix_rows() + static_cast<int64_t>(ids.size());
  walk(model, ids, lane.take(rows, model.spec().d_model), 0, model.blocks() + 1, weights, lane);
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

// The block that multiplies by a unit; the head comes after all of them.
int64_t place_of(const Model& model, size_t unit) {
  const LinearSpec& spec = model.units()[unit];
  return spec.matrix == model.spec().head ? model.blocks() : spec.block;
}

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
  std::vector<Weight> weights = model.prompt_weights();
  squares.add_to(weights);
  progress.stage(stages::kAlike, static_cast<double>(some.size()));
  observe_all(model, some, weights, progress);
  return squares.read();
}

// Units with equal sums over some windows had the same inputs, and share their products: in the
// order in which a pass comes to them.
Groups groups_of(const std::vector<std::vector<float>>& squares, const Model& model) {
  std::map<std::vector<float>, std::vector<size_t>> same;
  for (size_t u = 0; u < squares.size(); ++u)
    if (!squares[u].empty()) same[squares[u]].push_back(u);
  Groups groups;
  for (auto& [sums, units] : same) groups.push_back(std::move(units));
  std::ranges::stable_sort(groups, {}, [&](const std::vector<size_t>& units) {
    return std::pair(place_of(model, units.front()), units.front());
  });
  return groups;
}

// One look at all windows, which sums the products of some groups' inputs.
struct Stretch {
  Groups groups;
  int64_t first = 0;  // where it begins, for which the windows' streams are there
  int64_t next = 0;   // to which it brings these
  int64_t end = 0;    // before which groups end: after `next`, where the next begins in their midst
  double steps() const { return static_cast<double>(std::max(next, end) - first); }
};

// As many groups at a time as there is memory for, and no block more often than needed. Where
// blocks need more than the stream, each begins at the first.
std::vector<Stretch> stretches_of(Groups groups, const Model& model, int64_t most_bytes) {
  const bool stops = model.can_stop_between();
  const int64_t places = model.blocks() + 1;
  std::vector<Stretch> stretches;
  int64_t bytes = most_bytes;
  for (std::vector<size_t>& units : groups) {
    const int64_t more = product_bytes(model.units()[units.front()].cols);
    const int64_t place = place_of(model, units.front());
    if (bytes + more > most_bytes) {
      const int64_t first = stops && !stretches.empty() ? place : 0;
      if (stops && !stretches.empty()) stretches.back().next = first;
      stretches.push_back({.groups = {}, .first = first});
      bytes = 0;
    }
    bytes += more;
    stretches.back().groups.push_back(std::move(units));
    stretches.back().end = stops ? place + 1 : places;
  }
  if (!stretches.empty()) (stops ? stretches.back() : stretches.front()).next = places;
  return stretches;
}

// The residual streams of windows, on their way from block to block.
class Streams {
 public:
  Streams(const Model& model, const Windows& windows) : model_(model), windows_(windows) {
    for (const std::vector<int32_t>& window : windows)
      memory_.emplace_back(model.device(),
                           rows(window) * model.spec().d_model * int64_t{sizeof(float)},
                           Memory::Begin::kAnything);
  }

  // Brings a window's stream from place to place.
  void bring(size_t window, int64_t first, int64_t next, const std::vector<Weight>& weights,
             Lane& lane) const {
    walk(model_, windows_[window], stream(window), first, next, weights, lane);
  }
  // The same, and leaves it where it is.
  void look(size_t window, int64_t first, int64_t end, const std::vector<Weight>& weights,
            Lane& lane) const {
    const Lane::Frame frame(lane);
    const Rows stays = stream(window), x = lane.take(stays.count(), stays.width());
    if (first > 0) lane.copy(stays, x);
    walk(model_, windows_[window], x, first, end, weights, lane);
  }

 private:
  int64_t rows(const std::vector<int32_t>& window) const {
    return model_.prefix_rows() + static_cast<int64_t>(window.size());
  }
  Rows stream(size_t window) const {
    return {memory_[window].address(), rows(windows_[window]), model_.spec().d_model};
  }
  const Model& model_;
  const Windows& windows_;
  std::vector<Memory> memory_;
};

// What sums the products of a stretch's groups, added to weights that may sum more.
std::vector<Memory> sum_products(const Model& model, const Groups& groups,
                                 std::vector<Weight>& weights) {
  std::vector<Memory> products;
  for (const std::vector<size_t>& units : groups) {
    const int64_t cols = model.units()[units.front()].cols;
    products.emplace_back(model.device(), product_bytes(cols));
    weights[units.front()].input_products = Rows(products.back().address(), cols, cols);
  }
  return products;
}

void factor_all(const Model& model, const Groups& groups, std::vector<Memory> products,
                std::vector<std::shared_ptr<const InputFactor>>& factors) {
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
  std::vector<Weight> weights = model.prompt_weights();
  squares.add_to(weights);
  model.device().run([&](Lane& lane) { observe(model, ids, weights, lane); });
  std::vector<int64_t> columns;
  for (const std::vector<size_t>& units : groups_of(squares.read(), model))
    columns.push_back(model.units()[units.front()].cols);
  return columns;
}

UnitInputs::UnitInputs(const Model& model, const Windows& windows, Quantizer::Sees sees,
                       Progress& progress, int64_t product_bytes) {
  if (sees == Quantizer::Sees::kNothing || windows.empty()) return;
  seen_ = std::make_shared<Seen>();
  const Squares squares(model);
  std::vector<Weight> weights = model.prompt_weights();
  squares.add_to(weights);
  if (sees == Quantizer::Sees::kSquares) {
    progress.stage(stages::kColumns, static_cast<double>(windows.size()));
    observe_all(model, windows, weights, progress);
    seen_->squares = squares.read();
    return;
  }
  const std::vector<Stretch> stretches =
      stretches_of(groups_of(first_squares(model, windows, progress), model), model, product_bytes);
  double steps = 0;
  for (const Stretch& stretch : stretches) steps += stretch.steps();
  progress.stage(stages::kTogether, steps * static_cast<double>(windows.size()));
  seen_->factors.resize(weights.size());
  const Streams streams(model, windows);
  for (const Stretch& stretch : stretches) {
    std::vector<Weight> once = weights, again = model.prompt_weights();
    std::vector<Memory> products = sum_products(model, stretch.groups, again);
    for (size_t u = 0; u < once.size(); ++u) once[u].input_products = again[u].input_products;
    model.device().run([&](Lane& lane) {
      for (size_t w = 0; w < windows.size(); ++w) {
        // Streams go through every place once, where squares are summed too.
        if (stretch.first < stretch.next) streams.bring(w, stretch.first, stretch.next, once, lane);
        if (stretch.next < stretch.end) streams.look(w, stretch.next, stretch.end, again, lane);
        progress.step(stretch.steps());
      }
    });
    factor_all(model, stretch.groups, std::move(products), seen_->factors);
  }
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
