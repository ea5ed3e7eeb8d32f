#include <algorithm>
#include <cmath>

#include "quant/planners/sensitivity_list.h"

// The KL lens paper's variant "gamma": the list is walked to its end, and a step is kept if
// perplexity stays within 1.10 of the budget, else undone.
//
// There, each step is a run of the whole model. A plan here is made from a profile: the logarithm
// of a plan's perplexity is taken to be the model's own plus what each unit alone adds to the cross
// entropy (delta_ce); where that was not measured, as of predicted candidates, its KL, which on
// text of the model's own is the same in the mean. The text is the calibration's, not the test set.
//
// The paper's budget is the original's perplexity, and nothing bounds bytes. With a budget in bytes
// the walk ends as soon as they are kept; where 1.10 does not allow that, the plan is that of the
// least power of it which does. With a limit on the KL, the budget is the perplexity that this
// allows, and a step that would leave the limit itself is undone too. As in sort.cpp, an entry that
// does not make its unit smaller is passed over.

namespace klens {
namespace {

const double kLogGamma = std::log(1.10);

// What a candidate adds to ln perplexity; none if nothing is known of it.
std::optional<double> rise_of(const Candidate& c) {
  const std::optional<double>& rise = c.value(kDeltaCe) ? c.value(kDeltaCe) : c.kl;
  return rise && !std::isnan(*rise) ? rise : std::nullopt;
}

struct Walk {
  Selection selection;
  int64_t bytes = 0;
};

Walk walk(const SensitivityList& list, const PlanningTask& task, double most) {
  Walk result{list.start, bytes_of(list.start)};
  double rise = 0;
  for (const Candidate* c : list.start) rise += *rise_of(*c);
  for (const auto& [unit, to] : list.steps) {
    if (task.unit_bytes && result.bytes <= *task.unit_bytes) break;
    const Candidate*& at = result.selection[unit];
    const Candidate* from = at;
    if (to->bytes >= from->bytes) continue;
    const double risen = rise + *rise_of(*to) - *rise_of(*from);
    if (!(risen <= most)) continue;
    at = to;
    if (task.max_kl && *kl_of(result.selection) > *task.max_kl) {
      at = from;
      continue;
    }
    rise = risen;
    result.bytes += to->bytes - from->bytes;
  }
  return result;
}

// The least power of gamma, if any, whose walk fits.
MethodResult within_bytes(const SensitivityList& list, const PlanningTask& task) {
  constexpr int64_t kMost = int64_t{1} << 40;
  const auto powers = [&](int64_t power) {
    return walk(list, task, static_cast<double>(power) * kLogGamma);
  };
  const auto fits = [&](const Walk& w) { return w.bytes <= *task.unit_bytes; };
  int64_t low = 0, high = 1;
  for (; !fits(powers(high)); high *= 2) {
    if (high >= kMost) return Unreachable{powers(high).selection};
    low = high;
  }
  while (high - low > 1) {
    const int64_t middle = low + (high - low) / 2;
    (fits(powers(middle)) ? high : low) = middle;
  }
  return Selected{powers(high).selection, std::nullopt};
}

}  // namespace

MethodResult plan_by_gamma(const PlanningTask& task) {
  const auto listed = sensitivity_list(task, kKl);
  if (const auto* missing = std::get_if<Unmeasured>(&listed)) return *missing;
  const auto& list = std::get<SensitivityList>(listed);
  for (size_t u = 0; u < list.start.size(); ++u) {
    const Candidate& c = *list.start[u];
    if (!has_kl(c)) return Unmeasured{task.profile.units[u].name, c.choice.format, kKl.name};
  }
  if (task.unit_bytes) return within_bytes(list, task);
  if (*kl_of(list.start) > *task.max_kl) return Unreachable{list.start};
  return Selected{walk(list, task, *task.max_kl + kLogGamma).selection, std::nullopt};
}

}  // namespace klens
