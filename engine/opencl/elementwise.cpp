// What moves, joins or changes rows, and norms.
#include <algorithm>
#include <cmath>
#include <utility>

#include "base/error.h"
#include "engine/opencl/lane.h"

namespace klens {

// Caches of a pass that are looked at together, to begin with.
static constexpr size_t kRoom = 256;

OpenClLane::OpenClLane(Device& device, OpenClQueue& queue)
    : Lane(device),
      device_(device),
      queue_(queue),
      beyond_(queue.allocate(kRoom * sizeof(int32_t))),
      room_(kRoom),
      numbers_at_(queue.allocate(kNumbers * sizeof(Numbers))) {
  clear_beyond();
}

OpenClLane::~OpenClLane() {
  queue_.free(beyond_);
  queue_.free(numbers_at_);
}

void OpenClLane::launch(Step step, const KernelName& which, const WorkItems& grid,
                        std::initializer_list<Argument> arguments) {
  settle();
  queue_.launch(which, grid, arguments, step);
}

void OpenClLane::each(const char* name, const Rows& y, std::initializer_list<Argument> arguments) {
  launch(Step::kElementwise, {"elementwise", "", name}, over_columns(y.width(), y.count()),
         arguments);
}

void OpenClLane::check_reach() {
  settle();
  for (const bool beyond : beyond_halves())
    if (beyond)
      throw Error(ErrorKind::kUnsupported,
                  "keys or values left what FP16 holds (65504); run the model with --kv f32");
}

const float* OpenClLane::host(const Rows& x) {
  settle();
  if (x.none() || x.width() == 0) return take_host<float>(1);
  float* to = take_host<float>(x.count() * x.width());
  Rows together = x;
  if (x.count() > 1 && x.stride() != x.width()) {
    together = take(x.count(), x.width());
    copy(x, together);
    settle();
  }
  queue_.read(together.address(), to, x.count() * x.width() * static_cast<int64_t>(sizeof(float)));
  return to;
}

void OpenClLane::write(const float* from, const Rows& to) {
  settle();
  const bool together = to.stride() == to.width();
  const int64_t rows = together ? std::min<int64_t>(to.count(), 1) : to.count();
  const int64_t floats = together ? to.count() * to.width() : to.width();
  for (int64_t t = 0; t < rows; ++t)
    queue_.write(from + t * floats,
                 to.address() + static_cast<uint64_t>(t * to.stride()) * sizeof(float),
                 floats * static_cast<int64_t>(sizeof(float)));
}

At OpenClLane::slot_of(const Sequence& sequence, size_t slot) {
  const SequenceState& state = *sequence.state;
  if (const uint64_t kept = state.slot(slot)) return At(kept);
  const int64_t bytes = device_.state_bytes(state.layout->slot(slot));
  const uint64_t zeros = take_bytes(bytes);
  settle();  // memory may be what it still reads
  queue_.zero(zeros, bytes);
  return At(zeros);
}

void OpenClLane::norm(const NormArgs& a) {
  std::optional<Sum> sum = std::exchange(off_.sum, std::nullopt);
  if (sum && !(same(a.x, sum->to) && !overlap(sum->from, a.y) &&
               (same(sum->base, sum->to) || !overlap(sum->base, a.y)))) {
    off_.sum = sum;
    sum.reset();
  }
  const std::vector<Copy> beside = copies_beside(a);
  settle();
  PutOff made{
      .made = a.y,
      .columns = a.heads == 1 ? 0 : a.x.width() / a.heads,
      .reads = {a.x},
      .launch = [=, this](const LinearInput::Rounded* to) { launch_norm(a, sum, beside, to); }};
  if (sum) made.reads.insert(made.reads.end(), {sum->base, sum->from});
  for (const Copy& copy : beside) made.reads.emplace_back(copy.from);
  put_off(std::move(made));
}

// What makes a norm's input, side by side, if that was put off: it need not any more.
std::vector<Copy> OpenClLane::copies_beside(const NormArgs& a) {
  if (off_.copies.size() != 2 || a.heads != 1) return {};
  const Copy &left = off_.copies[0], &right = off_.copies[1];
  const int64_t split = left.to.width();
  if (split + right.to.width() != a.x.width() || !same(left.to, a.x.columns(0, split)) ||
      !same(right.to, a.x.columns(split, right.to.width())) || overlap(left.from, a.x) ||
      overlap(right.from, a.x) || overlap(left.from, a.y) || overlap(right.from, a.y))
    return {};
  return std::exchange(off_.copies, {});
}

void OpenClLane::launch_norm(const NormArgs& a, const std::optional<Sum>& sum,
                             const std::vector<Copy>& beside, const LinearInput::Rounded* rounded) {
  const int64_t part = a.x.width() / a.heads;
  Sum from = sum.value_or(Sum{});
  if (!beside.empty()) from = {.base = beside[0].from, .from = beside[1].from, .by = 1, .to = {}};
  launch(Step::kNorm, {"norm", "", "rms_norm"}, by_work_groups(a.heads, a.x.count()),
         {a.x, from.base, from.from, from.by, beside.empty() ? int64_t{0} : from.base.width(), a.y,
          At(a.weight), int64_t{a.weight.width() > part}, part, a.eps, rounded});
}

void OpenClLane::gated_norm(const GatedNormArgs& a) {
  const bool alone = a.order == GatedNormArgs::Order::kGate;
  const auto launch_gate = [=, this](const LinearInput::Rounded* to) {
    each("gate", a.y, {a.gate, int{a.sigmoid}, a.y, a.y.width(), to});
  };
  const auto launch_both = [=, this](const LinearInput::Rounded* to) {
    launch(Step::kNorm, {"norm", "", "gated_norm"}, by_work_groups(a.groups, a.y.count()),
           {a.gate, a.y, At(a.weight), a.y.width() / a.groups, a.eps,
            int{a.order == GatedNormArgs::Order::kNormThenGate}, int{a.sigmoid}, to});
  };
  if (alone)
    put_off({.made = a.y, .columns = kColumnItems, .reads = {a.gate}, .launch = launch_gate});
  else
    put_off({.made = a.y,
             .columns = a.groups == 1 ? 0 : a.y.width() / a.groups,
             .reads = {a.gate},
             .launch = launch_both});
}

void OpenClLane::activate(const ActivateArgs& a) {
  const int kind = a.activation == Activation::kSilu   ? 0
                   : a.activation == Activation::kGelu ? 1
                                                       : 2;
  put_off({.made = a.y,
           .columns = kColumnItems,
           .reads = {a.projected},
           .launch = [=, this](const LinearInput::Rounded* to) {
             if (a.gated)
               each("activate_gated", a.y, {a.projected, kind, a.gate_scale, a.y, a.y.width(), to});
             else
               each("activate", a.y, {a.projected, kind, a.y, a.y.width(), to});
           }});
}

void OpenClLane::zero(const Rows& x) { each("fill_zeros", x, {x, x.width()}); }
void OpenClLane::copy(const Rows& from, const Rows& to) {
  // Two that a norm may take along, side by side.
  if (off_.copies.size() != 1 || overlap(from, off_.copies[0].to)) settle();
  off_.copies.push_back({from, to});
}
void OpenClLane::scale(const Rows& x, float by, const Rows& y) {
  each("scale", y, {x, by, y, y.width()});
}
void OpenClLane::scale_columns(const Rows& x, const Rows& by) {
  each("scale_columns", x, {x, At(by), x.width()});
}
void OpenClLane::add(const Rows& a, const Rows& b, const Rows& y) {
  put_off(Sum{.base = a, .from = b, .by = 1, .to = y});
}
void OpenClLane::mean(const Rows& a, const Rows& b, const Rows& y) {
  each("mean", y, {a, b, y, y.width()});
}
void OpenClLane::add_scaled(const Rows& from, float by, const Rows& to) {
  put_off(Sum{.base = to, .from = from, .by = by, .to = to});
}
void OpenClLane::deinterleave(const Rows& from, int64_t groups, std::span<const Rows> to) {
  int64_t first = 0;
  for (const Rows& y : to) {
    const int64_t part = y.width() / groups;
    each("deinterleave", y, {from, from.width() / groups, first, part, y, y.width()});
    first += part;
  }
}

void OpenClLane::gather(const Rows& from, std::span<const int64_t> rows, const Rows& to) {
  if (rows.empty()) return;
  const Frame frame(*this);
  const std::vector<int32_t> numbers(rows.begin(), rows.end());
  each("gather", to, {from, put(std::span(numbers)), to, to.width()});
}

void OpenClLane::scatter_add(const Rows& from, std::span<const int64_t> rows,
                             std::span<const float> by, const Rows& to) {
  if (rows.empty()) return;
  const Frame frame(*this);
  const std::vector<int32_t> numbers(rows.begin(), rows.end());
  each("scatter_add", from, {from, put(std::span(numbers)), put(by), to, to.width()});
}

void OpenClLane::add_products(const Rows& x, const Rows& sums, bool /*rounded*/) {
  const Frame frame(*this);
  const Rows factors = take(1, x.count());
  each("unit_factors", factors, {x, x.width(), At(factors), x.count()});
  each("add_products", sums, {x, At(factors), x.count(), sums, x.width()});
}

// ---- what logits are reduced to -----------------------------------------------------------------

void OpenClLane::normalisers(const Rows& z, At stats) {
  launch(Step::kElementwise, {"scores", "", "normaliser"},
         {{128 * static_cast<size_t>(z.count()), 1, 1}, {128, 1, 1}}, {z, z.width(), stats});
}

void OpenClLane::log_sum_exp(const Rows& z, std::span<double> sums) {
  if (z.none()) return;
  const Frame frame(*this);
  const Rows stats = take(z.count(), 3);
  normalisers(z, At(stats));
  const float* found = host(stats);
  for (int64_t t = 0; t < z.count(); ++t, found += 3)
    sums[static_cast<size_t>(t)] = found[0] + std::log(double{found[1]} + double{found[2]});
}

void OpenClLane::divergence(const Rows& z, const Rows& zq, std::span<PositionScore> scores) {
  if (z.none()) return;
  const Frame frame(*this);
  const Rows both = take(2 * z.count(), 3), sums = take(z.count(), 8);
  const Rows of_p = both.rows(0, z.count()), of_q = both.rows(z.count(), z.count());
  normalisers(z, At(of_p));
  normalisers(zq, At(of_q));
  launch(Step::kElementwise, {"scores", "", "divergence"},
         {{128 * static_cast<size_t>(z.count()), 1, 1}, {128, 1, 1}},
         {z, zq, At(of_p), At(of_q), z.width(), At(sums)});
  const float *stats = host(both), *found = host(sums);
  const auto lse = [&](int64_t row) {
    const float* s = stats + 3 * row;
    return s[0] + std::log(double{s[1]} + double{s[2]});
  };
  for (int64_t t = 0; t < z.count(); ++t, found += 8)
    scores[static_cast<size_t>(t)] = {.lse_p = lse(t),
                                      .lse_q = lse(z.count() + t),
                                      .kl = double{found[0]} + double{found[1]},
                                      .kl_reverse = double{found[2]} + double{found[3]},
                                      .squared_error = double{found[4]} + double{found[5]},
                                      .squared = double{found[6]} + double{found[7]}};
}

}  // namespace klens
