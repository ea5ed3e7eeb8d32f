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
  if (norm_ && same(result_of(*norm_), x.x)) {
    // What it reads may lie in memory that has been given back; each work-group writes while others
    // read.
    const auto in_the_way = [&](uint64_t at, int64_t bytes) {
      const auto overlaps = [&](const Rows& rows) {
        return !rows.none() && overlap(rows, at, at + static_cast<uint64_t>(bytes));
      };
      const auto* a = std::get_if<NormArgs>(&norm_->args);
      return overlaps(a != nullptr ? a->x : std::get<GatedNormArgs>(norm_->args).gate) ||
             (norm_->added && overlaps(norm_->added->from));
    };
    const int64_t floats = tokens * planes * steps * 4;
    while (in_the_way(made.q, tokens * planes * stride) || in_the_way(made.scale, floats) ||
           in_the_way(made.sum, floats))
      made = make();
    launch_norm(*std::exchange(norm_, std::nullopt), &made);
    x.rounded.push_back(made);
    return;
  }
  const int64_t groups = (cols + group - 1) / group;
  launch(
      Step::kQuantize, {"activations", "", "quantise"}, over_columns(groups, tokens),
      {x.x, cols, group, step, planes, At(made.q), stride, At(made.scale), At(made.sum), groups});
  x.rounded.push_back(made);
}

// y = W x + bias of one unit.
void OpenClLane::unit(const Weight& w, const LinearInput& input, At bias, const Rows& y) {
  constexpr size_t kSlices = 8;
  const WeightView& view = w.view;
  const LinearInput::Rounded* x = input.rounded_for(w);
  const std::string options = options_of(view, x != nullptr);
  const OpenClFeatures features = queue_.features("linear", options);
  // By sub-groups go pieces of 32 columns with one scale.
  const bool shared =
      features.sub_groups && (x == nullptr || x->step % 32 == 0 || x->step >= view.cols);
  const bool matrix = shared && x != nullptr && features.matrix;
  const int64_t tokens_each = matrix ? queue_.info().matrix_lanes : shared ? 16 : 8;
  const KernelName kernel{"linear", options, shared ? "linear_by_sub_groups" : "linear"};
  const auto grid = [&](int64_t tokens) {
    return WorkItems{{static_cast<size_t>(view.row_tiles() * kTileOutputs), kSlices,
                      static_cast<size_t>((tokens + tokens_each - 1) / tokens_each)},
                     {kTileOutputs, kSlices, 1}};
  };
  const int64_t tokens = y.count(), group = group_of(view);
  const At data(view.data), scale(view.scale), min(view.min);
  if (x == nullptr)
    return launch(Step::kLinear, kernel, grid(tokens),
                  {data, scale, min, view.rows, view.cols, group, input.x, tokens, bias, y});
  const auto rounded_to = [&](int64_t rows, At own_bias, const Rows& to) {
    launch(Step::kLinear, kernel, grid(rows),
           {data, scale, min, view.rows, view.cols, group, At(x->q), x->stride, At(x->scale),
            At(x->sum), x->step, rows, own_bias, to});
  };
  if (x->planes == 1) return rounded_to(tokens, bias, y);
  const Frame frame(*this);
  const Rows products = take(tokens * x->planes, view.rows);
  rounded_to(tokens * x->planes, At(uint64_t{0}), products);
  each("sum_planes", y, {products, x->planes, bias, y, y.width()});
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
