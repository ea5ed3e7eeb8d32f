#include <algorithm>
#include <limits>

#include "quant/planners/methods.h"

namespace klens {

namespace {

constexpr double kUnknown = std::numeric_limits<double>::infinity();

}  // namespace

MethodResult plan_uniform(const PlanningTask& task) {
  Selected selected;
  for (const auto& open : task.open)
    selected.selection.push_back(
        *std::min_element(open.begin(), open.end(), [](const Candidate* a, const Candidate* b) {
          return a->kl.value_or(kUnknown) < b->kl.value_or(kUnknown);
        }));
  return selected;
}

}  // namespace klens
