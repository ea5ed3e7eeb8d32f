#include "quant/agreement.h"

#include <cmath>

#include "base/statistics.h"

namespace klens {
namespace {

using Column = std::vector<std::optional<double>>;  // by unit

Column column_of(const Metric& metric, const std::vector<const Unit*>& units) {
  Column column;
  for (const Unit* unit : units) {
    std::optional<double> value =
        metric.of_candidates() ? ranked_candidate(*unit)->value(metric) : unit->weights[metric];
    if (value && !std::isfinite(*value)) value.reset();
    if (value && metric.better == Better::kHigher) *value = -*value;
    column.push_back(value);
  }
  return column;
}

std::optional<double> tau_of(const Column& a, const Column& b) {
  std::vector<double> both_a, both_b;
  for (size_t u = 0; u < a.size(); ++u) {
    if (!a[u] || !b[u]) continue;
    both_a.push_back(*a[u]);
    both_b.push_back(*b[u]);
  }
  return kendall_tau_b(both_a, both_b);
}

// By a pass of the rest of the model, whichever metrics were asked for.
bool measured(const Candidate& c) {
  if (c.predicted) return false;
  for (const Metric* metric : kMetrics)
    if (metric->of_scores != nullptr && c.value(*metric) && std::isfinite(*c.value(*metric)))
      return true;
  return false;
}

}  // namespace

const Candidate* ranked_candidate(const Unit& unit) {
  const Candidate* found = nullptr;
  for (const Candidate& c : unit.candidates)
    if (measured(c) && (found == nullptr || c.bytes < found->bytes)) found = &c;
  return found;
}

RankAgreement rank_agreement(const Profile& profile) {
  RankAgreement result;
  std::vector<const Unit*> units;
  for (const Unit& unit : profile.units)
    if (ranked_candidate(unit) != nullptr) units.push_back(&unit);
  result.units = units.size();
  std::vector<Column> columns;
  for (const Metric* metric : kMetrics) {
    Column column = column_of(*metric, units);
    size_t known = 0;
    for (const auto& value : column) known += value.has_value();
    if (known < 2) continue;
    result.metrics.push_back(metric);
    columns.push_back(std::move(column));
  }
  for (const Column& row : columns) {
    result.tau.emplace_back();
    for (const Column& other : columns) result.tau.back().push_back(tau_of(row, other));
  }
  return result;
}

}  // namespace klens
