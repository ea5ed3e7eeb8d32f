#include <algorithm>
#include <set>

#include "quant/planners/methods.h"

namespace klens {
namespace {

// The smallest candidate of each unit that loses no more than this, or else the one that loses
// least.
Selection within(double most, const PlanningTask& task) {
  Selection selection;
  for (const auto& open : task.open)
    selection.push_back(*std::ranges::min_element(open, {}, [&](const Candidate* c) {
      const double beyond = std::max(*c->kl - most, 0.0);
      return std::tuple(beyond, c->bytes, *c->kl);
    }));
  return selection;
}

}  // namespace

// As NVIDIA's ModelOpt searches a threshold: the least bound on every single unit's KL at which the
// smallest candidates that keep it fit; with a limit on the summed KL the largest bound that keeps
// it.
MethodResult plan_by_largest_kl(const PlanningTask& task) {
  std::set<double> bounds{0};
  for (size_t u = 0; u < task.open.size(); ++u)
    for (const Candidate* c : task.open[u]) {
      if (!has_kl(*c)) return Unmeasured{task.profile.units[u].name, c->choice.format, kKl.name};
      bounds.insert(*c->kl);
    }
  // Bytes fall and the KL grows as the bound does.
  const std::vector<double> sorted(bounds.begin(), bounds.end());
  if (task.unit_bytes) {
    const auto found = std::ranges::partition_point(
        sorted, [&](double bound) { return bytes_of(within(bound, task)) > *task.unit_bytes; });
    if (found == sorted.end()) return Unreachable{within(sorted.back(), task)};
    return Selected{within(*found, task), std::nullopt};
  }
  const auto found = std::ranges::partition_point(
      sorted, [&](double bound) { return *kl_of(within(bound, task)) <= *task.max_kl; });
  if (found == sorted.begin()) return Unreachable{within(sorted.front(), task)};
  return Selected{within(*(found - 1), task), std::nullopt};
}

}  // namespace klens
