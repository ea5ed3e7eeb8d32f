#pragma once
#include <cstddef>
#include <vector>

#include "quant/planners/knapsack.h"

namespace klens {

struct FrontPoint {
  double weight, cost;
  size_t option;
};

// Cost saved per weight added, from one point of a front to a heavier one.
inline double exchange_rate(const FrontPoint& light, const FrontPoint& heavy) {
  return (light.cost - heavy.cost) / (heavy.weight - light.weight);
}

// From one point of an item's hull to the next.
struct HullStep {
  size_t item, from, to;  // indices into the item's front
  double rate;
};

// The knapsack's linear relaxation: options may be mixed. Its solution takes hull steps, best rate
// first, until one does not fit; the whole steps make the *break solution*.
struct Relaxation {
  // Per item, the options that no other dominates: weights ascend, costs descend, both strictly.
  std::vector<std::vector<FrontPoint>> fronts;
  std::vector<HullStep> steps;  // of all items, best rate first
  size_t break_step = 0;        // the first that does not fit
  double lambda = 0;            // its rate; 0 if all fit
  std::vector<size_t> picks;    // the break solution: per item, an index into its front
  double weight = 0, cost = 0;  // of the break solution
  double lower_bound = 0;       // the relaxation's cost: no solution costs less
  double lightest = 0;          // least possible weight
  // What running sums of costs and of weights may be off by: 1e-13 of their ranges.
  double cost_rounding = 0, weight_rounding = 0;
};

Relaxation relax(const std::vector<std::vector<KnapsackOption>>& items, double capacity);

}  // namespace klens
