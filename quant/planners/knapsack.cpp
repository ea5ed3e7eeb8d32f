#include "quant/planners/knapsack.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "quant/planners/relaxation.h"

// The method is Pisinger's "minimal algorithm for the multiple-choice knapsack problem" (EJOR 83,
// 1995). The linear relaxation is solved by a greedy walk over the items' convex hulls; it stops at
// a *break solution*, which is optimal but for one fractional step, and at the exchange rate lambda
// of cost for weight. The optimum departs from the break solution in few items, those whose own
// rates are near lambda. So the search starts with the break solution as its only label and lets
// one item after another, nearest rate first, depart from it. Every label is a complete solution;
// labels that are dominated, or whose bound cannot reach the best solution known, are dropped.

namespace klens {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// A solution in which the items not yet searched are at their break points.
struct Label {
  double weight, cost;
  uint32_t trace;  // index of its last departure
  uint32_t point;  // where the item being searched departs to; kStays
};
constexpr uint32_t kStays = ~0u;

struct Departure {
  uint32_t before;  // index of the departure before this one; 0: none
  uint32_t item, point;
};

class Solver {
 public:
  Solver(const Relaxation& relaxation, double capacity)
      : relaxed_(relaxation), capacity_(capacity) {}
  KnapsackSolution solve(size_t max_labels);

 private:
  using Picks = std::vector<size_t>;  // per item, an index into its front

  void improve_greedily(Picks picks);
  void search(size_t max_labels);
  std::vector<size_t> search_order() const;
  std::vector<Label> depart(const std::vector<Label>& labels, size_t item);
  void trim(std::vector<Label>& labels, size_t limit);
  double bound(double weight, double cost) const;
  double reduced_cost(size_t item, size_t point) const;
  Picks picks_of(uint32_t trace) const;
  void offer(const Picks& picks);
  bool worth_offering(double weight, double cost) const;

  double ceiling() const { return least_cost_ + relaxed_.cost_rounding; }

  const Relaxation& relaxed_;
  const double capacity_;

  // Best rates that the items still to be searched offer: cost added per weight shed, and cost
  // saved per weight added. loss_rate_ >= lambda >= gain_rate_.
  double loss_rate_ = kInfinity, gain_rate_ = 0;
  std::vector<Departure> departures_;
  double dropped_bound_ = kInfinity;  // the least bound among labels given up for want of room

  Picks best_;
  double best_cost_ = kInfinity, best_weight_ = kInfinity;
  double least_cost_ = kInfinity;  // best_cost_, or less by rounding where best_ is lighter
};

bool Solver::worth_offering(double weight, double cost) const {
  if (weight > capacity_ + relaxed_.weight_rounding) return false;
  return cost < least_cost_ - relaxed_.cost_rounding ||
         (cost <= ceiling() && weight < best_weight_ - relaxed_.weight_rounding);
}

// The sums are formed anew, in the order of the items: labels' running sums are off by rounding.
void Solver::offer(const Picks& picks) {
  double weight = 0, cost = 0;
  for (size_t item = 0; item < picks.size(); ++item) {
    weight += relaxed_.fronts[item][picks[item]].weight;
    cost += relaxed_.fronts[item][picks[item]].cost;
  }
  if (weight > capacity_) return;
  if (!best_.empty() && !worth_offering(weight, cost)) return;
  best_ = picks;
  best_cost_ = cost;
  best_weight_ = weight;
  least_cost_ = std::min(least_cost_, cost);
}

// A first good solution: the remaining steps that fit, then any change of one item that helps.
void Solver::improve_greedily(Picks picks) {
  double weight = relaxed_.weight;
  for (size_t s = relaxed_.break_step; s < relaxed_.steps.size(); ++s) {
    const HullStep& step = relaxed_.steps[s];
    const double more =
        relaxed_.fronts[step.item][step.to].weight - relaxed_.fronts[step.item][step.from].weight;
    if (picks[step.item] != step.from || weight + more > capacity_) continue;
    picks[step.item] = step.to;
    weight += more;
  }
  for (size_t item = 0; item < picks.size(); ++item) {
    const std::vector<FrontPoint>& front = relaxed_.fronts[item];
    for (size_t p = front.size() - 1; p > picks[item]; --p) {
      if (weight + front[p].weight - front[picks[item]].weight > capacity_) continue;
      weight += front[p].weight - front[picks[item]].weight;
      picks[item] = p;
    }
  }
  offer(picks);
}

// What departing to this point costs beyond what its weight is worth at the rate lambda; never
// negative.
double Solver::reduced_cost(size_t item, size_t point) const {
  const FrontPoint &at = relaxed_.fronts[item][relaxed_.picks[item]],
                   &to = relaxed_.fronts[item][point];
  return (to.cost - at.cost) + relaxed_.lambda * (to.weight - at.weight);
}

// No solution that extends the label costs less: what is too heavy must be shed at loss_rate_ or
// worse, and what is left can be used at gain_rate_ at best.
double Solver::bound(double weight, double cost) const {
  const double over = weight - capacity_;
  if (over > relaxed_.weight_rounding) return cost + loss_rate_ * over;
  return cost + gain_rate_ * std::min(over, 0.0);
}

// Items by how near to lambda the rate of their best departure is; items that cannot depart are
// left out.
std::vector<size_t> Solver::search_order() const {
  std::vector<double> distance(relaxed_.fronts.size(), kInfinity);
  std::vector<size_t> order;
  for (size_t item = 0; item < relaxed_.fronts.size(); ++item) {
    const std::vector<FrontPoint>& front = relaxed_.fronts[item];
    for (size_t p = 0; p < front.size(); ++p) {
      if (p == relaxed_.picks[item]) continue;
      if (relaxed_.lower_bound + reduced_cost(item, p) > ceiling()) continue;
      const double weight = std::fabs(front[p].weight - front[relaxed_.picks[item]].weight);
      distance[item] = std::min(distance[item], reduced_cost(item, p) / weight);
    }
    if (distance[item] < kInfinity) order.push_back(item);
  }
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return distance[a] < distance[b]; });
  return order;
}

// Merges two lists of ascending weight and drops what is dominated.
std::vector<Label> merge_undominated(const std::vector<Label>& a, const std::vector<Label>& b) {
  std::vector<Label> merged;
  merged.reserve(a.size() + b.size());
  double least = kInfinity;
  for (size_t i = 0, j = 0; i < a.size() || j < b.size();) {
    const bool from_a =
        j == b.size() || (i < a.size() && (a[i].weight != b[j].weight ? a[i].weight < b[j].weight
                                                                      : a[i].cost <= b[j].cost));
    const Label& next = from_a ? a[i++] : b[j++];
    if (next.cost >= least) continue;
    least = next.cost;
    merged.push_back(next);
  }
  return merged;
}

// The labels after the item has stayed or departed, with those left out that cannot become the
// best.
std::vector<Label> Solver::depart(const std::vector<Label>& labels, size_t item) {
  const std::vector<FrontPoint>& front = relaxed_.fronts[item];
  const FrontPoint& at = front[relaxed_.picks[item]];
  std::vector<Label> result, moved;
  for (size_t p = 0; p < front.size(); ++p) {
    if (relaxed_.lower_bound + reduced_cost(item, p) > ceiling()) continue;
    moved.clear();
    for (const Label& label : labels) {
      const double weight = label.weight + (front[p].weight - at.weight);
      const double cost = label.cost + (front[p].cost - at.cost);
      if (bound(weight, cost) > ceiling()) continue;
      const uint32_t point = p == relaxed_.picks[item] ? kStays : static_cast<uint32_t>(p);
      moved.push_back({weight, cost, label.trace, point});
      if (point == kStays || !worth_offering(weight, cost)) continue;
      Picks picks = picks_of(label.trace);
      picks[item] = p;
      offer(picks);
    }
    result = merge_undominated(result, moved);
  }
  return result;
}

// Keeps the labels with the least bounds, and remembers what the others might have reached.
void Solver::trim(std::vector<Label>& labels, size_t limit) {
  if (labels.size() <= limit) return;
  std::vector<double> bounds;
  for (const Label& label : labels) bounds.push_back(bound(label.weight, label.cost));
  std::vector<double> sorted = bounds;
  std::nth_element(sorted.begin(), sorted.begin() + static_cast<ptrdiff_t>(limit), sorted.end());
  const double cut = sorted[limit];
  auto ties = static_cast<ptrdiff_t>(limit) -
              std::count_if(bounds.begin(), bounds.end(), [&](double b) { return b < cut; });
  size_t kept = 0;
  for (size_t i = 0; i < labels.size(); ++i)
    if (bounds[i] < cut || (bounds[i] == cut && ties-- > 0)) labels[kept++] = labels[i];
  labels.resize(kept);
  dropped_bound_ = std::min(dropped_bound_, cut);
}

Solver::Picks Solver::picks_of(uint32_t trace) const {
  Picks picks = relaxed_.picks;
  for (; trace != 0; trace = departures_[trace].before)
    picks[departures_[trace].item] = departures_[trace].point;
  return picks;
}

void Solver::search(size_t max_labels) {
  const std::vector<size_t> order = search_order();
  // Rates that the items after order[i] offer.
  std::vector<double> losses(order.size() + 1, kInfinity), gains(order.size() + 1, 0.0);
  for (size_t i = order.size(); i-- > 0;) {
    losses[i] = losses[i + 1];
    gains[i] = gains[i + 1];
    const std::vector<FrontPoint>& front = relaxed_.fronts[order[i]];
    const size_t at = relaxed_.picks[order[i]];
    for (size_t p = 0; p < at; ++p)
      losses[i] = std::min(losses[i], exchange_rate(front[p], front[at]));
    for (size_t p = at + 1; p < front.size(); ++p)
      gains[i] = std::max(gains[i], exchange_rate(front[at], front[p]));
  }
  const size_t limit = std::max<size_t>(1, max_labels / std::max<size_t>(1, order.size()));
  departures_.assign(1, {});
  std::vector<Label> labels{{relaxed_.weight, relaxed_.cost, 0, kStays}};
  for (size_t i = 0; i < order.size() && !labels.empty(); ++i) {
    if (least_cost_ <= relaxed_.lower_bound + relaxed_.cost_rounding) return;
    loss_rate_ = losses[i + 1];
    gain_rate_ = gains[i + 1];
    labels = depart(labels, order[i]);
    trim(labels, limit);
    for (Label& label : labels) {
      if (label.point == kStays) continue;
      departures_.push_back({label.trace, static_cast<uint32_t>(order[i]), label.point});
      label.trace = static_cast<uint32_t>(departures_.size() - 1);
      label.point = kStays;
    }
  }
}

KnapsackSolution Solver::solve(size_t max_labels) {
  offer(Picks(relaxed_.fronts.size(), 0));  // feasible whatever the rounding of the others
  offer(relaxed_.picks);
  improve_greedily(relaxed_.picks);
  search(max_labels);
  KnapsackSolution solution{.choice = {}, .cost = best_cost_, .weight = best_weight_, .gap = 0};
  for (size_t item = 0; item < best_.size(); ++item)
    solution.choice.push_back(relaxed_.fronts[item][best_[item]].option);
  const double proven = std::max(relaxed_.lower_bound, dropped_bound_);
  solution.gap = dropped_bound_ == kInfinity ? 0 : std::max(0.0, best_cost_ - proven);
  if (solution.gap <= relaxed_.cost_rounding) solution.gap = 0;
  return solution;
}

}  // namespace

std::optional<KnapsackSolution> solve_knapsack(
    const std::vector<std::vector<KnapsackOption>>& items, double capacity, size_t max_labels) {
  const Relaxation relaxation = relax(items, capacity);
  if (relaxation.lightest > capacity) return std::nullopt;
  return Solver(relaxation, capacity).solve(max_labels);
}

}  // namespace klens
