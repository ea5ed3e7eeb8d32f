#include <algorithm>
#include <cmath>

#include "quant/planners/sensitivity_list.h"

namespace klens {
namespace {

bool is_base(const Candidate* c) { return c->choice.format == kBaseFormat.name; }

const Candidate* base_of(const std::vector<const Candidate*>& open) {
  for (const Candidate* c : open)
    if (is_base(c)) return c;
  return nullptr;
}

// Whether the steps may stop at this selection. With a limit on the KL they may not: they go on as
// long as it holds.
bool fits(const Selection& selection, const PlanningTask& task) {
  return task.unit_bytes && bytes_of(selection) <= *task.unit_bytes;
}

// "A KL Lens on Quantization": a plan is a prefix of its list; of a unit's entries the last one
// counts, and the last entry of the list is never taken. A budget in bytes takes the
// shortest prefix that fits, one on the KL the longest that keeps it.
//
// With the paper's two formats, 8 before 4 bits, every entry makes its unit smaller. With several
// formats of nearly equal KL, 4 bits can come before 8 by noise; taken literally the unit would
// then grow, the plan's bytes would go up and down along the list, and "the shortest prefix" would
// stop at the chance of a dip. So an entry that does not make its unit smaller is passed over. It
// still counts as an entry of the list, and where the paper's order holds nothing changes.
MethodResult plan_by_prefix(const PlanningTask& task, const Metric& metric) {
  auto listed = sensitivity_list(task, metric);
  if (const auto* missing = std::get_if<Unmeasured>(&listed)) return *missing;
  auto& [selection, steps] = std::get<SensitivityList>(listed);
  if (!steps.empty()) steps.pop_back();

  if (task.max_kl) {
    for (size_t u = 0; u < selection.size(); ++u)
      if (!has_kl(*selection[u]))
        return Unmeasured{task.profile.units[u].name, selection[u]->choice.format, kKl.name};
    if (*kl_of(selection) > *task.max_kl) return Unreachable{selection};
  }
  for (const SensitivityList::Step& step : steps) {
    if (fits(selection, task)) break;
    const Candidate* from = selection[step.unit];
    if (step.to->bytes >= from->bytes) continue;
    selection[step.unit] = step.to;
    if (!task.max_kl) continue;
    if (!has_kl(*step.to))
      return Unmeasured{task.profile.units[step.unit].name, step.to->choice.format, kKl.name};
    if (*kl_of(selection) <= *task.max_kl) continue;
    selection[step.unit] = from;
    break;
  }
  if (task.unit_bytes && !fits(selection, task)) return Unreachable{selection};
  return Selected{selection, std::nullopt};
}

}  // namespace

std::variant<SensitivityList, Unmeasured> sensitivity_list(const PlanningTask& task,
                                                           const Metric& metric) {
  SensitivityList list;
  for (size_t u = 0; u < task.open.size(); ++u) {
    const std::vector<const Candidate*>& open = task.open[u];
    const Candidate* start = open.size() == 1 ? open[0] : base_of(open);
    if (!start) return Unmeasured{task.profile.units[u].name, kBaseFormat.name, "bytes"};
    list.start.push_back(start);
    for (const Candidate* c : open) {
      if (open.size() == 1 || is_base(c)) continue;
      const std::optional<double>& value = c->value(metric);
      if (!value || std::isnan(*value))
        return Unmeasured{task.profile.units[u].name, c->choice.format, metric.name};
      list.steps.push_back({u, c});
    }
  }
  const auto before = [&](const SensitivityList::Step& a, const SensitivityList::Step& b) {
    const double x = *a.to->value(metric), y = *b.to->value(metric);
    return metric.better == Better::kHigher ? x > y : x < y;
  };
  std::stable_sort(list.steps.begin(), list.steps.end(), before);
  return list;
}

MethodResult plan_by_kl_order(const PlanningTask& task) { return plan_by_prefix(task, kKl); }
MethodResult plan_by_sqnr_order(const PlanningTask& task) { return plan_by_prefix(task, kSqnrDb); }
MethodResult plan_by_mse_order(const PlanningTask& task) { return plan_by_prefix(task, kMse); }

}  // namespace klens
