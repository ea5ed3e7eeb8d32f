// Linear layers and the embedding.
#include <algorithm>
#include <utility>

#include "engine/opencl/lane.h"

namespace klens {
namespace {

// What linear.cl is specialised by.
std::string options_of(const WeightView& w, bool rounded) {
  return "-DLAYOUT=" + std::to_string(static_cast<int>(w.layout)) +
         " -DMINIMA=" + (w.min == nullptr ? "0" : "1") + " -DROUNDED=" + (rounded ? "1" : "0");
}

// One group of all columns is as many as there are.
int64_t group_of(const WeightView& w) { return std::min(std::max<int64_t>(w.group, 1), w.cols); }

}  // namespace

void OpenClLane::round_input(const Weight& w, LinearInput& x) {
  KLENS_CHECK(w.view.cols == x.x.width());
  look({&w, 1}, x);
  const int64_t group = w.activation_group, tokens = x.x.count(), cols = x.x.width();
  if (group == 0 || x.rounded_for(w) != nullptr) return;
  const int planes = w.activation_planes;
  const int64_t step = w.activation_step(), stride = (cols + 31) / 32 * 32,
                steps = (cols + step - 1) / step;
  const auto make = [&] {
    return LinearInput::Rounded{.group = group,
                                .step = step,
                                .stride = stride,
                                .planes = planes,
                                .q = take_bytes(tokens * planes * stride),
                                .scale = take_bytes(tokens * planes * steps * 4),
                                .sum = take_bytes(tokens * planes * steps * 4)};
  };
  LinearInput::Rounded made = make();
  if (gives(x.x, group)) {
    // What it reads may lie in memory that has been given back; each work-group writes while others
    // read.
    const int64_t floats = tokens * planes * steps * 4;
    while (reads({made.q, tokens * planes * stride}) || reads({made.scale, floats}) ||
           reads({made.sum, floats}))
      made = make();
    const Later off = std::exchange(off_, {});
    if (off.rows)
      off.rows->launch(&made);
    else
      launch_product(*off.product, cols, &made);
    x.rounded.push_back(made);
    return;
  }
  const int64_t groups = (cols + group - 1) / group;
  launch(Step::kQuantize, {"activations", "", "quantise"}, over_columns(groups, tokens),
         {x.x, cols, &made, groups});
  x.rounded.push_back(made);
}

void OpenClLane::launch_product(const Product& p, int64_t columns,
                                const LinearInput::Rounded* rounded) {
  constexpr size_t kSlices = 8;
  const OpenClFeatures features = queue_.features("linear", p.options);
  const WeightView& first = p.units.front().view;
  // By sub-groups go pieces of 32 columns with one scale.
  const bool shared = features.sub_groups &&
                      (!p.rounded || p.rounded->step % 32 == 0 || p.rounded->step >= first.cols);
  const bool matrix = shared && p.rounded && features.matrix;
  const int64_t tokens_each = matrix ? queue_.info().matrix_lanes : shared ? 16 : 8;
  const int64_t tokens = p.y.count();
  int64_t tiles = 0;
  std::vector<Argument> arguments;
  for (size_t i = 0; i < Product::kMostUnits; ++i) {
    const Product::Unit unit = i < p.units.size() ? p.units[i] : Product::Unit{};
    const WeightView& view = unit.view;
    arguments.insert(arguments.end(),
                     {At(view.data), At(view.scale), At(view.min), unit.bias, view.rows});
    tiles += view.row_tiles();
  }
  const size_t tiles_each = rounded != nullptr ? 2 : 1;
  const size_t pairs = (static_cast<size_t>(tiles) + tiles_each - 1) / tiles_each;
  const WorkItems grid{{pairs * kTileOutputs, kSlices * tiles_each,
                        static_cast<size_t>((tokens + tokens_each - 1) / tokens_each)},
                       {kTileOutputs, kSlices * tiles_each, 1}};
  arguments.insert(arguments.end(), {first.cols, p.group});
  if (const auto& x = p.rounded)
    arguments.insert(arguments.end(), {At(x->q), x->stride, At(x->scale), At(x->sum), x->step});
  else
    arguments.emplace_back(p.x);
  const Sum sum = p.sum.value_or(Sum{});
  arguments.insert(arguments.end(), {tokens, p.y, sum.base, sum.by, sum.to, columns, rounded});
  settle();
  queue_.launch({"linear", p.options, shared ? "linear_by_sub_groups" : "linear"}, grid, arguments,
                Step::kLinear);
}

// A token's activations of 16 bits are two of 8, each multiplied on its own.
void OpenClLane::in_planes(Product p) {
  const Frame frame(*this);
  const int64_t planes = p.rounded->planes;
  const Rows y = p.y, products = take(y.count() * planes, p.width);
  const At bias = std::exchange(p.units.front().bias, At(uint64_t{0}));
  p.y = products;
  launch_product(p, 0, nullptr);
  each("sum_planes", y, {products, planes, bias, y, y.width()});
}

// y = W x + bias of one unit.
void OpenClLane::unit(const Weight& w, const LinearInput& input, At bias, const Rows& y) {
  const LinearInput::Rounded* rounded = input.rounded_for(w);
  Product product{.units = {{w.view, bias}},
                  .options = options_of(w.view, rounded != nullptr),
                  .group = group_of(w.view),
                  .x = input.x,
                  .rounded = {},
                  .y = y,
                  .width = y.width(),
                  .sum = {}};
  if (rounded != nullptr) product.rounded = *rounded;
  if (off_.product && off_.product->takes(product)) return off_.product->take(product);
  settle();
  if (rounded != nullptr && rounded->planes > 1) return in_planes(std::move(product));
  off_.product = std::move(product);
}

void OpenClLane::look(std::span<const Weight> units, LinearInput& x) {
  for (const Weight& w : units) {
    if (!w.input_squares.none())
      each("add_squares", x.x.rows(0, 1), {x.x, x.x.count(), At(w.input_squares), x.x.width()});
    if (!w.input_products.none()) add_products(x.x, w.input_products, w.bf16);
  }
}

void OpenClLane::linear(std::span<const Weight> units, LinearInput& x, const Rows& bias,
                        const Rows& y) {
  for (const Weight& w : units) round_input(w, x);
  int64_t first = 0;
  for (const Weight& w : units) {
    const At own = bias.none() ? At(bias) : At(bias.columns(first, w.view.rows));
    unit(w, x, own, y.columns(first, w.view.rows));
    first += w.view.rows;
  }
  KLENS_CHECK(y.width() == first && y.count() == x.x.count());
}

void OpenClLane::embed(std::span<const Weight> table, std::span<const int32_t> ids, float scale,
                       const Rows& y) {
  const Frame frame(*this);
  const int64_t blocks = (table.front().view.cols + 15) / 16;
  int32_t first = 0;  // the unit's first id
  for (const Weight& w : table) {
    const auto end = static_cast<int32_t>(first + w.view.rows);
    std::vector<int32_t> places;  // row of y, row of the unit
    for (size_t t = 0; t < ids.size(); ++t)
      if (ids[t] >= first && ids[t] < end)
        places.insert(places.end(), {static_cast<int32_t>(t), ids[t] - first});
    first = end;
    if (places.empty()) continue;
    launch(Step::kElementwise, {"linear", options_of(w.view, false), "embed"},
           over_columns(blocks, static_cast<int64_t>(places.size()) / 2),
           {At(w.view.data), At(w.view.scale), At(w.view.min), w.view.rows, w.view.cols,
            group_of(w.view), put(std::span<const int32_t>(places)), scale, y, blocks});
  }
}

}  // namespace klens
