#include <algorithm>

#include "quant/planners/knapsack.h"
#include "quant/planners/methods.h"

namespace klens {
namespace {

using OpenUnits = std::vector<std::vector<const Candidate*>>;

std::optional<Selected> solve(const OpenUnits& open, const PlanningTask& task) {
  std::vector<std::vector<KnapsackOption>> items;
  for (const auto& candidates : open) {
    std::vector<KnapsackOption>& options = items.emplace_back();
    for (const Candidate* c : candidates) {
      const auto bytes = static_cast<double>(c->bytes);  // exact: below 2^53
      options.push_back(task.max_kl ? KnapsackOption{.cost = bytes, .weight = *c->kl}
                                    : KnapsackOption{.cost = *c->kl, .weight = bytes});
    }
  }
  const double capacity = task.max_kl ? *task.max_kl : static_cast<double>(*task.unit_bytes);
  const auto solution = solve_knapsack(items, capacity);
  if (!solution) return std::nullopt;
  Selected selected{.selection = {}, .gap = solution->gap};
  for (size_t u = 0; u < open.size(); ++u)
    selected.selection.push_back(open[u][solution->choice[u]]);
  return selected;
}

Selection nearest_selection(const PlanningTask& task) {
  Selection selection;
  for (const auto& open : task.open)
    selection.push_back(
        *std::min_element(open.begin(), open.end(), [&](const Candidate* a, const Candidate* b) {
          if (task.max_kl && *a->kl != *b->kl) return *a->kl < *b->kl;
          if (a->bytes != b->bytes) return a->bytes < b->bytes;
          return *a->kl < *b->kl;
        }));
  return selection;
}

}  // namespace

MethodResult plan_by_knapsack(const PlanningTask& task) {
  for (size_t u = 0; u < task.open.size(); ++u)
    for (const Candidate* c : task.open[u])
      if (!has_kl(*c)) return Unmeasured{task.profile.units[u].name, c->choice.format, kKl.name};

  OpenUnits significant;
  for (const auto& open : task.open) significant.push_back(significant_candidates(open));
  if (auto selected = solve(significant, task)) return *selected;
  // A limit on the KL may be met only with candidates that are better by less than the noise.
  if (task.max_kl)
    if (auto selected = solve(task.open, task)) return *selected;
  return Unreachable{nearest_selection(task)};
}

}  // namespace klens
