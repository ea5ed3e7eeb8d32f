#pragma once
#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "quant/profile.h"

namespace klens {

// What a planning method is asked: one candidate for every unit, within the limit that is set.
struct PlanningTask {
  const Profile& profile;
  std::vector<std::vector<const Candidate*>>
      open;                           // per unit: the candidates it may have, never none
  std::optional<int64_t> unit_bytes;  // of all units' weights together, at most
  std::optional<double> max_kl;       // summed, at most; bytes are minimised
};

using Selection = std::vector<const Candidate*>;  // per unit

// Whether the candidate has a KL to add up. A student with infinite logits has none.
inline bool has_kl(const Candidate& c) { return c.kl && std::isfinite(*c.kl); }

int64_t bytes_of(const Selection& selection);
// Summed in the order of the units; none if a candidate has none.
std::optional<double> kl_of(const Selection& selection);

struct Selected {
  Selection selection;
  std::optional<double> gap;  // proven bound on the distance from the optimum
};
// The limit cannot be met, and this is as near to it as the method comes: the fewest bytes, or the
// least KL.
struct Unreachable {
  Selection nearest;
};
// Something that the method needs, such as a metric, was not measured.
struct Unmeasured {
  std::string unit, format, what;  // no format: of the unit itself
};
using MethodResult = std::variant<Selected, Unreachable, Unmeasured>;

// The least summed KL (or the fewest bytes), exactly or to a proven gap.
MethodResult plan_by_knapsack(const PlanningTask& task);

// The KL lens paper's allocation: steps in the order of a metric, least sensitive first; a plan is
// a prefix of them.
MethodResult plan_by_kl_order(const PlanningTask& task);
MethodResult plan_by_sqnr_order(const PlanningTask& task);
MethodResult plan_by_mse_order(const PlanningTask& task);
// The same list walked whole; steps that cost too much perplexity are undone.
MethodResult plan_by_gamma(const PlanningTask& task);

// Others' ways, for comparison; each file names its source.
MethodResult plan_by_steps(const PlanningTask& task);
MethodResult plan_by_largest_kl(const PlanningTask& task);
MethodResult plan_by_rule(const PlanningTask& task);
MethodResult plan_by_sensitive_outliers(const PlanningTask& task);
MethodResult plan_by_kurtosis_outliers(const PlanningTask& task);

// One format everywhere, which is all that is open; where it was quantised in several ways, the way
// that loses least.
MethodResult plan_uniform(const PlanningTask& task);

// The candidates worth choosing among: of each unit those that lose significantly less than every
// smaller one that is kept. See significant.cpp.
std::vector<const Candidate*> significant_candidates(const std::vector<const Candidate*>& open);

}  // namespace klens
