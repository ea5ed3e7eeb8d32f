#include "quant/planners/relaxation.h"

#include <algorithm>
#include <cmath>

namespace klens {
namespace {

constexpr double kRounding = 1e-13;

std::vector<FrontPoint> pareto_front(const std::vector<KnapsackOption>& options) {
  std::vector<FrontPoint> points;
  for (size_t i = 0; i < options.size(); ++i)
    points.push_back({options[i].weight, options[i].cost, i});
  std::stable_sort(points.begin(), points.end(), [](const FrontPoint& a, const FrontPoint& b) {
    return a.weight != b.weight ? a.weight < b.weight : a.cost < b.cost;
  });
  std::vector<FrontPoint> front;
  for (const FrontPoint& p : points)
    if (front.empty() || p.cost < front.back().cost) front.push_back(p);
  return front;
}

// The indices of the points on the lower convex hull of a front: rates along it descend.
std::vector<size_t> lower_hull(const std::vector<FrontPoint>& front) {
  std::vector<size_t> hull;
  for (size_t i = 0; i < front.size(); ++i) {
    while (hull.size() >= 2 && exchange_rate(front[hull[hull.size() - 2]], front[hull.back()]) <=
                                   exchange_rate(front[hull.back()], front[i]))
      hull.pop_back();
    hull.push_back(i);
  }
  return hull;
}

// All items at their lightest, and the steps from there.
void start(Relaxation& r, const std::vector<std::vector<KnapsackOption>>& items) {
  double costs = 0, weights = 0;
  for (const auto& options : items) {
    const size_t item = r.fronts.size();
    const std::vector<FrontPoint>& front = r.fronts.emplace_back(pareto_front(options));
    r.weight += front.front().weight;
    r.cost += front.front().cost;
    costs += std::max(std::fabs(front.front().cost), std::fabs(front.back().cost));
    weights += std::max(std::fabs(front.front().weight), std::fabs(front.back().weight));
    const std::vector<size_t> hull = lower_hull(front);
    for (size_t i = 1; i < hull.size(); ++i)
      r.steps.push_back(
          {item, hull[i - 1], hull[i], exchange_rate(front[hull[i - 1]], front[hull[i]])});
  }
  r.lightest = r.weight;
  r.cost_rounding = kRounding * costs;
  r.weight_rounding = kRounding * weights;
  r.picks.assign(items.size(), 0);
  std::stable_sort(r.steps.begin(), r.steps.end(),
                   [](const HullStep& a, const HullStep& b) { return a.rate > b.rate; });
}

}  // namespace

Relaxation relax(const std::vector<std::vector<KnapsackOption>>& items, double capacity) {
  Relaxation r;
  start(r, items);
  for (; r.break_step < r.steps.size(); ++r.break_step) {
    const HullStep& step = r.steps[r.break_step];
    const FrontPoint &from = r.fronts[step.item][step.from], &to = r.fronts[step.item][step.to];
    if (r.weight + (to.weight - from.weight) > capacity + r.weight_rounding) break;
    r.weight += to.weight - from.weight;
    r.cost += to.cost - from.cost;
    r.picks[step.item] = step.to;
  }
  r.lambda = r.break_step < r.steps.size() ? r.steps[r.break_step].rate : 0;
  r.lower_bound = r.cost - r.lambda * std::max(0.0, capacity - r.weight);
  return r;
}

}  // namespace klens
