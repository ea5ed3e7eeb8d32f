#include <algorithm>
#include <set>

#include "quant/planners/methods.h"

namespace klens {
namespace {

// What MLX-LM's mixed recipes and llama.cpp's K mixtures give more bits: the first and the last
// eighth of the layers, the embedding and the head, and everywhere values and what goes back into
// the residual stream.
bool is_careful(const Unit& unit, int64_t blocks) {
  static const std::set<std::string_view> kinds = {"embedding", "head",     "v_proj",
                                                   "down_proj", "out_proj", "o_proj"};
  const int64_t edge = std::max<int64_t>(1, blocks / 8);
  return kinds.contains(unit.kind) || unit.block < edge || unit.block >= blocks - edge;
}

// One candidate for each number of bytes, smallest first; of equal ones that which the profile
// names first.
std::vector<const Candidate*> ladder(std::vector<const Candidate*> open) {
  std::ranges::stable_sort(open, {}, &Candidate::bytes);
  const auto same = [](const Candidate* a, const Candidate* b) { return a->bytes == b->bytes; };
  open.erase(std::unique(open.begin(), open.end(), same), open.end());
  return open;
}

Selection at_rung(size_t rung, int64_t blocks, const PlanningTask& task) {
  Selection selection;
  for (size_t u = 0; u < task.open.size(); ++u) {
    const std::vector<const Candidate*> rungs = ladder(task.open[u]);
    const size_t wanted = rung + (is_careful(task.profile.units[u], blocks) ? 1 : 0);
    selection.push_back(rungs[std::min(wanted, rungs.size() - 1)]);
  }
  return selection;
}

}  // namespace

// A rule of structure, without any measurement: careful units are one format above the others,
// which have the largest that fits.
MethodResult plan_by_rule(const PlanningTask& task) {
  int64_t blocks = 0;
  size_t rungs = 0;
  for (size_t u = 0; u < task.open.size(); ++u) {
    const Unit& unit = task.profile.units[u];
    if (unit.kind != "head") blocks = std::max(blocks, unit.block + 1);
    rungs = std::max(rungs, ladder(task.open[u]).size());
  }
  const auto keeps = [&](const Selection& selection) {
    if (task.unit_bytes) return bytes_of(selection) <= *task.unit_bytes;
    const std::optional<double> kl = kl_of(selection);
    return kl && *kl <= *task.max_kl;
  };
  // The largest that fits; of a limit on the KL the smallest.
  std::optional<Selection> best;
  for (size_t rung = 0; rung < rungs; ++rung) {
    Selection selection = at_rung(rung, blocks, task);
    if (!keeps(selection)) continue;
    best = std::move(selection);
    if (task.max_kl) break;
  }
  if (!best) return Unreachable{at_rung(task.max_kl ? rungs : 0, blocks, task)};
  return Selected{*best, std::nullopt};
}

}  // namespace klens
