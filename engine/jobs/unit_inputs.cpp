#include "engine/jobs/unit_inputs.h"

#include <tbb/parallel_for.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>

#include "engine/jobs/stages.h"
#include "loaders/checksum.h"

namespace klens {
namespace {

KeptBytes::Part part_of(const auto& values) { return std::as_bytes(std::span(values)); }

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
using Factors = std::vector<std::shared_ptr<const InputFactor>>;

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
  void write(const std::vector<std::vector<float>>& all) {
    for (size_t u = 0; u < sums_.size(); ++u)
      if (!all[u].empty()) sums_[u].write(all[u].data());
  }

 private:
  Device& device_;
  std::vector<Memory> sums_;
};

// Of as many windows as tell which units have the same inputs: one, but where experts are chosen by
// token, as two may be chosen for the same few.
std::vector<std::vector<float>> first_squares(const Model& model, const Windows& windows,
                                              Progress& progress, KeptBytes& kept,
                                              const std::string& name) {
  std::vector<std::vector<float>> found;
  if (const auto piece = kept.find(name); piece && piece->parts.size() == model.units().size()) {
    for (size_t u = 0; u < piece->parts.size(); ++u) found.push_back(piece->array<float>(u));
    return found;
  }
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
  found = squares.read();
  std::vector<KeptBytes::Part> parts;
  for (const std::vector<float>& unit : found) parts.push_back(part_of(unit));
  kept.keep(name, parts);
  return found;
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
  size_t groups = 0;  // so many more of them
  int64_t first = 0;  // where it begins, for which the windows' streams are there
  int64_t next = 0;   // to which it brings these
  int64_t end = 0;    // before which groups end: after `next`, where the next begins in their midst
};

// The residual streams of windows, on their way from block to block.
class ResidualStreams {
 public:
  ResidualStreams(const Model& model, const Windows& windows) : model_(model), windows_(windows) {
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

  Memory& memory(size_t window) { return memory_[window]; }

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
std::vector<Memory> sum_products(const Model& model, std::span<const std::vector<size_t>> groups,
                                 std::vector<Weight>& weights) {
  std::vector<Memory> products;
  for (const std::vector<size_t>& units : groups) {
    const int64_t cols = model.units()[units.front()].cols;
    products.emplace_back(model.device(), product_bytes(cols));
    weights[units.front()].input_products = Rows(products.back().address(), cols, cols);
  }
  return products;
}

void factor_all(const Model& model, std::span<const std::vector<size_t>> groups,
                std::vector<Memory> products, Factors& factors) {
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

// Sums the products of inputs in one walk of all windows through the blocks, as many groups at a
// time as there is memory for, and no block more often than needed. Where blocks need more than the
// stream, each look begins at the first. How it is cut changes no bit. What is kept after each
// stretch is what another run goes on from.
class Products {
 public:
  Products(const Model& model, const Windows& windows, Groups groups, int64_t most_bytes,
           KeptBytes& kept, std::string name)
      : model_(model),
        windows_(windows),
        groups_(std::move(groups)),
        most_bytes_(most_bytes),
        kept_(kept),
        name_(std::move(name)),
        stops_(model.can_stop_between()),
        places_(model.blocks() + 1),
        squares_(model),
        streams_(model, windows) {}

  void run(Progress& progress, Factors& factors, std::vector<std::vector<float>>& squares) {
    factors.assign(model_.units().size(), nullptr);
    if (!resume(factors)) {
      factors.assign(model_.units().size(), nullptr);
      at_ = 0;
      done_ = stretches_ = 0;
    }
    const auto windows = static_cast<double>(windows_.size());
    progress.stage(stages::kTogether, windows * static_cast<double>(places_) * looks(),
                   windows * static_cast<double>(at_));
    while (at_ < places_ || done_ < groups_.size()) {
      const auto begin = Clock::now();
      const Stretch stretch = next_stretch();
      look(stretch, progress, factors);
      const std::chrono::duration<double> took = Clock::now() - begin;
      const auto walked = static_cast<double>(stretch.end - stretch.first);
      most_places_ = std::max(1.0, walked * kStretchSeconds / std::max(took.count(), 1e-3));
      at_ = std::max(at_, stretch.next);
      done_ += stretch.groups;
      keep(stretch, factors);
    }
    squares = squares_.read();
  }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr double kStretchSeconds = 5;  // of work that may be lost

  int64_t bytes_of(size_t group) const {
    return product_bytes(model_.units()[groups_[group].front()].cols);
  }
  int64_t place(size_t group) const { return place_of(model_, groups_[group].front()); }

  // How often all blocks are gone through, about.
  double looks() const {
    if (stops_) return 1;
    double bytes = 0;
    for (size_t g = 0; g < groups_.size(); ++g) bytes += static_cast<double>(bytes_of(g));
    return std::max(1.0, std::ceil(bytes / static_cast<double>(most_bytes_)));
  }

  Stretch next_stretch() const {
    Stretch stretch{.first = stops_ ? at_ : 0};
    int64_t bytes = 0;
    for (size_t g = done_; g < groups_.size(); ++g) {
      bytes += bytes_of(g);
      const bool long_enough =
          stops_ && kept_.keeps() && static_cast<double>(place(g) - at_) >= most_places_;
      if (stretch.groups > 0 && (bytes > most_bytes_ || long_enough)) break;
      ++stretch.groups;
      stretch.end = place(g) + 1;
    }
    const size_t left = done_ + stretch.groups;
    if (stops_)
      stretch.next = left < groups_.size() ? place(left) : places_;
    else  // squares are summed in the first look alone
      stretch.next = at_ < places_ ? places_ : 0;
    stretch.end = stops_ ? std::max(stretch.end, stretch.next) : places_;
    return stretch;
  }

  void look(const Stretch& stretch, Progress& progress, Factors& factors) {
    const std::span groups = std::span(groups_).subspan(done_, stretch.groups);
    std::vector<Weight> again = model_.prompt_weights();
    std::vector<Memory> products = sum_products(model_, groups, again);
    std::vector<Weight> once = again;
    squares_.add_to(once);
    model_.device().run([&](Lane& lane) {
      for (size_t w = 0; w < windows_.size(); ++w) {
        // Streams go through every place once, where squares are summed too.
        if (stretch.first < stretch.next)
          streams_.bring(w, stretch.first, stretch.next, once, lane);
        const int64_t from = std::max(stretch.first, stretch.next);
        if (from < stretch.end) streams_.look(w, from, stretch.end, again, lane);
        progress.step(static_cast<double>((stops_ ? stretch.next : stretch.end) - stretch.first));
      }
    });
    factor_all(model_, groups, std::move(products), factors);
  }

  std::string name(const char* what, int64_t of, size_t index) const {
    return name_ + what + " " + std::to_string(of) + " " + std::to_string(index);
  }
  // Whether streams are needed to go on.
  bool amid() const { return stops_ && at_ > 0 && at_ < places_; }

  // The walk comes last: what it names is there.
  void keep(const Stretch& stretch, const Factors& factors) {
    if (!kept_.keeps()) return;
    const InputFactor none;
    std::vector<KeptBytes::Part> parts;
    for (size_t g = done_ - stretch.groups; g < done_; ++g) {
      const InputFactor* found = factors[groups_[g].front()].get();
      const InputFactor& factor = found == nullptr ? none : *found;
      for (const KeptBytes::Part part :
           {part_of(factor.order), part_of(factor.feedback), part_of(factor.d)})
        parts.push_back(part);
    }
    kept_.keep(name("factors", 0, stretches_++), parts);
    for (size_t w = 0; at_ > kept_at_ && amid() && w < windows_.size(); ++w) {
      const std::vector<std::byte> stream = streams_.memory(w).read();
      const KeptBytes::Part part(stream);
      kept_.keep(name("stream", at_, w), {&part, 1});
    }
    const std::vector<std::vector<float>> squares = squares_.read();
    const std::vector<int64_t> where = {at_, static_cast<int64_t>(stretches_)};
    parts = {part_of(where)};
    for (const std::vector<float>& unit : squares) parts.push_back(part_of(unit));
    kept_.keep(name("walk", 0, 0), parts);
    for (size_t w = 0; at_ > kept_at_ && kept_.keeps() && w < windows_.size(); ++w)
      kept_.forget(name("stream", kept_at_, w));
    kept_at_ = at_;
  }

  // To where an earlier run came. False where that is not all there.
  bool resume(Factors& factors) {
    const std::optional<KeptBytes::Piece> walk = kept_.find(name("walk", 0, 0));
    if (!walk || walk->parts.size() != model_.units().size() + 1) return false;
    const std::vector<int64_t> where = walk->array<int64_t>(0);
    at_ = kept_at_ = where.at(0);
    for (; stretches_ < static_cast<size_t>(where.at(1)); ++stretches_) {
      const auto piece = kept_.find(name("factors", 0, stretches_));
      if (!piece || piece->parts.size() > 3 * (groups_.size() - done_)) return false;
      for (size_t part = 0; part + 2 < piece->parts.size(); part += 3) {
        const auto factor = std::make_shared<const InputFactor>(
            InputFactor{.order = piece->array<int32_t>(part),
                        .feedback = piece->array<uint16_t>(part + 1),
                        .d = piece->array<float>(part + 2)});
        for (const size_t unit : groups_[done_++])
          factors[unit] = factor->d.empty() ? nullptr : factor;
      }
    }
    for (size_t w = 0; amid() && w < windows_.size(); ++w) {
      const auto stream = kept_.find(name("stream", at_, w));
      Memory& memory = streams_.memory(w);
      if (!stream || stream->parts.size() != 1 ||
          stream->parts[0].size() != static_cast<size_t>(memory.bytes()))
        return false;
      memory.write(stream->parts[0].data());
    }
    std::vector<std::vector<float>> squares;
    for (size_t u = 1; u < walk->parts.size(); ++u) squares.push_back(walk->array<float>(u));
    squares_.write(squares);
    return true;
  }

  const Model& model_;
  const Windows& windows_;
  const Groups groups_;
  const int64_t most_bytes_;
  KeptBytes& kept_;
  const std::string name_;
  const bool stops_;
  const int64_t places_;
  Squares squares_;
  ResidualStreams streams_;
  int64_t at_ = 0, kept_at_ = 0;  // the place to which streams came, and those that are kept
  size_t done_ = 0;               // groups whose factors are there
  size_t stretches_ = 0;
  double most_places_ = 1;  // of a stretch, where it is kept
};

std::string name_of(const Windows& windows) {
  std::string hashes;
  for (const std::vector<int32_t>& window : windows) hashes += xxh3_hex(part_of(window));
  return "inputs of " + xxh3_hex(part_of(hashes)) + " ";
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
                       Progress& progress, int64_t product_bytes, std::shared_ptr<KeptBytes> kept)
    : kept_(std::move(kept)) {
  if (sees == Quantizer::Sees::kNothing || windows.empty()) return;
  seen_ = std::make_shared<Seen>();
  if (sees == Quantizer::Sees::kSquares) {
    const Squares squares(model);
    std::vector<Weight> weights = model.prompt_weights();
    squares.add_to(weights);
    progress.stage(stages::kColumns, static_cast<double>(windows.size()));
    observe_all(model, windows, weights, progress);
    seen_->squares = squares.read();
    return;
  }
  KeptBytes nowhere;
  KeptBytes& keep = kept_ == nullptr ? nowhere : *kept_;
  const std::string name = name_of(windows);
  Groups groups = groups_of(first_squares(model, windows, progress, keep, name + "alike"), model);
  Products(model, windows, std::move(groups), product_bytes, keep, name)
      .run(progress, seen_->factors, seen_->squares);
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
