#include <algorithm>

#include "quant/planners/methods.h"

namespace klens {
namespace {

// What a larger candidate saves for each byte more.
double worth(const Candidate& from, const Candidate& to) {
  return (*from.kl - *to.kl) / static_cast<double>(to.bytes - from.bytes);
}

// The best step up of a unit, within so many bytes more; null where none saves anything.
const Candidate* step_up(const Candidate& from, const std::vector<const Candidate*>& open,
                         int64_t bytes) {
  const Candidate* best = nullptr;
  for (const Candidate* c : open) {
    if (c->bytes <= from.bytes || c->bytes - from.bytes > bytes || *c->kl >= *from.kl) continue;
    if (best == nullptr || worth(from, *c) > worth(from, *best)) best = c;
  }
  return best;
}

}  // namespace

// As ExLlamaV2 and V3 do: from the smallest candidate of every unit upwards, each time by the step
// that saves most KL for a byte, until none fits; or, with a limit on the KL, until that is kept.
MethodResult plan_by_steps(const PlanningTask& task) {
  Selection selection;
  for (size_t u = 0; u < task.open.size(); ++u) {
    for (const Candidate* c : task.open[u])
      if (!has_kl(*c)) return Unmeasured{task.profile.units[u].name, c->choice.format, kKl.name};
    selection.push_back(*std::ranges::min_element(
        task.open[u], {}, [](const Candidate* c) { return std::pair(c->bytes, *c->kl); }));
  }
  if (task.unit_bytes && bytes_of(selection) > *task.unit_bytes) return Unreachable{selection};
  while (!task.max_kl || *kl_of(selection) > *task.max_kl) {
    const int64_t room = task.unit_bytes ? *task.unit_bytes - bytes_of(selection) : INT64_MAX;
    size_t unit = 0;
    const Candidate* step = nullptr;
    for (size_t u = 0; u < selection.size(); ++u) {
      const Candidate* found = step_up(*selection[u], task.open[u], room);
      if (found != nullptr &&
          (step == nullptr || worth(*selection[u], *found) > worth(*selection[unit], *step))) {
        unit = u;
        step = found;
      }
    }
    if (step == nullptr) {
      if (task.max_kl) return Unreachable{selection};
      break;
    }
    selection[unit] = step;
  }
  return Selected{selection, std::nullopt};
}

}  // namespace klens
