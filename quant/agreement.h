#pragma once
#include <optional>
#include <vector>

#include "quant/profile.h"

namespace klens {

// The candidate that a unit is ranked by: of those that were measured, the one with the fewest
// bytes. Null where none was.
const Candidate* ranked_candidate(const Unit& unit);

// How far metrics put units into the same order of sensitivity.
struct RankAgreement {
  std::vector<const Metric*> metrics;  // that at least two units have
  // [metrics][metrics]: Kendall's tau-b over the units that have both, signs turned such that what
  // a metric calls worse is more; none where one of them tells no two units apart.
  std::vector<std::vector<std::optional<double>>> tau;
  size_t units = 0;  // that were ranked
};

RankAgreement rank_agreement(const Profile& profile);

}  // namespace klens
