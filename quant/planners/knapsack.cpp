#include "quant/planners/knapsack.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

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
constexpr double kRounding = 1e-13;

struct Point {
  double weight, cost;
  size_t option;
};

// Options that no other option of the item dominates: weights ascend, costs descend, both strictly.
std::vector<Point> pareto_front(const std::vector<KnapsackOption>& options) {
  std::vector<Point> points;
  for (size_t i = 0; i < options.size(); ++i)
    points.push_back({options[i].weight, options[i].cost, i});
  std::stable_sort(points.begin(), points.end(), [](const Point& a, const Point& b) {
    return a.weight != b.weight ? a.weight < b.weight : a.cost < b.cost;
  });
  std::vector<Point> front;
  for (const Point& p : points)
    if (front.empty() || p.cost < front.back().cost) front.push_back(p);
  return front;
}

double rate(const Point& light, const Point& heavy) {
  return (light.cost - heavy.cost) / (heavy.weight - light.weight);
}

// The indices of the points on the lower convex hull of a front: rates along it descend.
std::vector<size_t> lower_hull(const std::vector<Point>& front) {
  std::vector<size_t> hull;
  for (size_t i = 0; i < front.size(); ++i) {
    while (hull.size() >= 2 && rate(front[hull[hull.size() - 2]], front[hull.back()]) <=
                                   rate(front[hull.back()], front[i]))
      hull.pop_back();
    hull.push_back(i);
  }
  return hull;
}

// From one hull point of an item to the next.
struct Step {
  size_t item, from, to;  // indices into the item's front
  double rate;            // cost saved per weight added
};

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
  Solver(const std::vector<std::vector<KnapsackOption>>& items, double capacity);
  bool feasible() const { return lightest_ <= capacity_; }
  KnapsackSolution solve(size_t max_labels);

 private:
  using Picks = std::vector<size_t>;  // per item, an index into its front

  void relax();
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

  const std::vector<std::vector<KnapsackOption>>& items_;
  const double capacity_;
  std::vector<std::vector<Point>> fronts_;
  double lightest_ = 0, cost_rounding_ = 0, weight_rounding_ = 0;

  std::vector<Step> steps_;  // best rate first
  size_t break_step_ = 0;    // the first that does not fit
  double lambda_ = 0;        // its rate
  double relaxed_cost_ = 0;  // the relaxation's optimum, a lower bound
  Picks break_;
  double break_weight_ = 0, break_cost_ = 0;

  // Best rates that the items still to be searched offer: cost added per weight shed, and cost
  // saved per weight added. loss_rate_ >= lambda_ >= gain_rate_.
  double loss_rate_ = kInfinity, gain_rate_ = 0;
  std::vector<Departure> departures_;
  double dropped_bound_ = kInfinity;  // the least bound among labels given up for want of room

  Picks best_;
  double best_cost_ = kInfinity, best_weight_ = kInfinity;
  double least_cost_ = kInfinity;  // best_cost_, or less by rounding where best_ is lighter
};

Solver::Solver(const std::vector<std::vector<KnapsackOption>>& items, double capacity)
    : items_(items), capacity_(capacity) {
  double costs = 0, weights = 0;
  for (const auto& options : items) {
    fronts_.push_back(pareto_front(options));
    const std::vector<Point>& front = fronts_.back();
    lightest_ += front.front().weight;
    costs += std::max(std::fabs(front.front().cost), std::fabs(front.back().cost));
    weights += std::max(std::fabs(front.front().weight), std::fabs(front.back().weight));
  }
  cost_rounding_ = kRounding * costs;
  weight_rounding_ = kRounding * weights;
}

// Takes hull steps, best rate first, until one does not fit.
void Solver::relax() {
  break_.assign(fronts_.size(), 0);
  for (size_t item = 0; item < fronts_.size(); ++item) {
    const std::vector<Point>& front = fronts_[item];
    break_weight_ += front[0].weight;
    break_cost_ += front[0].cost;
    const std::vector<size_t> hull = lower_hull(front);
    for (size_t i = 1; i < hull.size(); ++i)
      steps_.push_back({item, hull[i - 1], hull[i], rate(front[hull[i - 1]], front[hull[i]])});
  }
  std::stable_sort(steps_.begin(), steps_.end(),
                   [](const Step& a, const Step& b) { return a.rate > b.rate; });
  for (; break_step_ < steps_.size(); ++break_step_) {
    const Step& step = steps_[break_step_];
    const Point &from = fronts_[step.item][step.from], &to = fronts_[step.item][step.to];
    if (break_weight_ + (to.weight - from.weight) > capacity_ + weight_rounding_) break;
    break_weight_ += to.weight - from.weight;
    break_cost_ += to.cost - from.cost;
    break_[step.item] = step.to;
  }
  lambda_ = break_step_ < steps_.size() ? steps_[break_step_].rate : 0;
  relaxed_cost_ = break_cost_ - lambda_ * std::max(0.0, capacity_ - break_weight_);
}

bool Solver::worth_offering(double weight, double cost) const {
  if (weight > capacity_ + weight_rounding_) return false;
  return cost < least_cost_ - cost_rounding_ ||
         (cost <= least_cost_ + cost_rounding_ && weight < best_weight_ - weight_rounding_);
}

// The sums are formed anew, in the order of the items: labels' running sums are off by rounding.
void Solver::offer(const Picks& picks) {
  double weight = 0, cost = 0;
  for (size_t item = 0; item < picks.size(); ++item) {
    weight += fronts_[item][picks[item]].weight;
    cost += fronts_[item][picks[item]].cost;
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
  double weight = break_weight_;
  for (size_t s = break_step_; s < steps_.size(); ++s) {
    const Step& step = steps_[s];
    const double more = fronts_[step.item][step.to].weight - fronts_[step.item][step.from].weight;
    if (picks[step.item] != step.from || weight + more > capacity_) continue;
    picks[step.item] = step.to;
    weight += more;
  }
  for (size_t item = 0; item < picks.size(); ++item) {
    const std::vector<Point>& front = fronts_[item];
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
  const Point &at = fronts_[item][break_[item]], &to = fronts_[item][point];
  return (to.cost - at.cost) + lambda_ * (to.weight - at.weight);
}

// No solution that extends the label costs less: what is too heavy must be shed at loss_rate_ or
// worse, and what is left can be used at gain_rate_ at best.
double Solver::bound(double weight, double cost) const {
  const double over = weight - capacity_;
  if (over > weight_rounding_) return cost + loss_rate_ * over;
  return cost + gain_rate_ * std::min(over, 0.0);
}

// Items by how near to lambda the rate of their best departure is; items that cannot depart are
// left out.
std::vector<size_t> Solver::search_order() const {
  std::vector<double> distance(fronts_.size(), kInfinity);
  std::vector<size_t> order;
  for (size_t item = 0; item < fronts_.size(); ++item) {
    const std::vector<Point>& front = fronts_[item];
    for (size_t p = 0; p < front.size(); ++p) {
      if (p == break_[item]) continue;
      if (relaxed_cost_ + reduced_cost(item, p) > least_cost_ + cost_rounding_) continue;
      const double weight = std::fabs(front[p].weight - front[break_[item]].weight);
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
  const std::vector<Point>& front = fronts_[item];
  const Point& at = front[break_[item]];
  std::vector<Label> result, moved;
  for (size_t p = 0; p < front.size(); ++p) {
    if (relaxed_cost_ + reduced_cost(item, p) > least_cost_ + cost_rounding_) continue;
    moved.clear();
    for (const Label& label : labels) {
      const double weight = label.weight + (front[p].weight - at.weight);
      const double cost = label.cost + (front[p].cost - at.cost);
      if (bound(weight, cost) > least_cost_ + cost_rounding_) continue;
      const uint32_t point = p == break_[item] ? kStays : static_cast<uint32_t>(p);
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
  Picks picks = break_;
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
    const std::vector<Point>& front = fronts_[order[i]];
    const size_t at = break_[order[i]];
    for (size_t p = 0; p < at; ++p) losses[i] = std::min(losses[i], rate(front[p], front[at]));
    for (size_t p = at + 1; p < front.size(); ++p)
      gains[i] = std::max(gains[i], rate(front[at], front[p]));
  }
  const size_t limit = std::max<size_t>(1, max_labels / std::max<size_t>(1, order.size()));
  departures_.assign(1, {});
  std::vector<Label> labels{{break_weight_, break_cost_, 0, kStays}};
  for (size_t i = 0; i < order.size() && !labels.empty(); ++i) {
    if (least_cost_ <= relaxed_cost_ + cost_rounding_) return;
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
  relax();
  offer(Picks(fronts_.size(), 0));  // feasible whatever the rounding of the others
  offer(break_);
  improve_greedily(break_);
  search(max_labels);
  KnapsackSolution solution{.choice = {}, .cost = best_cost_, .weight = best_weight_, .gap = 0};
  for (size_t item = 0; item < best_.size(); ++item)
    solution.choice.push_back(fronts_[item][best_[item]].option);
  const double proven = std::max(relaxed_cost_, dropped_bound_);
  solution.gap = dropped_bound_ == kInfinity ? 0 : std::max(0.0, best_cost_ - proven);
  if (solution.gap <= cost_rounding_) solution.gap = 0;
  return solution;
}

}  // namespace

std::optional<KnapsackSolution> solve_knapsack(
    const std::vector<std::vector<KnapsackOption>>& items, double capacity, size_t max_labels) {
  Solver solver(items, capacity);
  if (!solver.feasible()) return std::nullopt;
  return solver.solve(max_labels);
}

}  // namespace klens
