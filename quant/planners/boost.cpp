#include <algorithm>
#include <functional>

#include "quant/planners/outliers.h"

// SensiBoost and KurtBoost (arXiv 2503.06518): one stop of a ladder of formats for all, and the few
// units that stand out (outliers.h) 2 or 3 stops further up.
//
// Theirs are HQQ's: 2, 3, 4 and 8 bits in groups of 128, 64 and 32, each group with a minimum. Of
// our formats those with minima stand for the stops below 8 bits, and those of 8 bits, which gain
// nothing by minima, for theirs of 8. A unit that was not measured in a stop's format has there the
// largest candidate that is no larger. Weights are what the profile's quantizer made of them: their
// own are those of a profile with --quantizer hqq in the stops' formats. Theirs leave embedding and
// head alone, and boost beyond the budget; here these have the stop of all others, and the budget
// holds: units that stand out most are boosted first, by 3 stops, or 2 where there is no room for
// 3.

namespace klens {
namespace {

constexpr size_t kBoosts[] = {3, 2};

using Ladder = std::vector<const Format*>;
using Open = std::vector<const Candidate*>;

bool is_stop(const Format& format) {
  return format.group != 0 && (format.minimum || code_bits(format.layout) == 8);
}

// Fewest bits first.
Ladder make_ladder() {
  Ladder ladder;
  for (const Format& format : kFormats)
    if (is_stop(format)) ladder.push_back(&format);
  std::ranges::stable_sort(ladder, {},
                           [](const Format* format) { return bits_per_weight(*format); });
  return ladder;
}

const Candidate* at_stop(const Format& stop, const Unit& unit, const Open& open) {
  for (const Candidate* c : open)
    if (c->choice.format == stop.name) return c;
  const auto most = static_cast<int64_t>(packed_bytes(stop, unit.rows, unit.cols));
  return *std::ranges::min_element(open, {}, [&](const Candidate* c) {
    return c->bytes <= most ? std::pair(0, -c->bytes) : std::pair(1, c->bytes);
  });
}

class Booster {
 public:
  Booster(const PlanningTask& task, std::vector<ModuleOutliers::Layer> outliers)
      : task_(task), outliers_(std::move(outliers)) {}

  MethodResult within_bytes() const {
    for (size_t stop = ladder_.size(); stop-- > 0;) {
      Selection selection = uniform(stop);
      if (bytes_of(selection) > *task_.unit_bytes) continue;
      for (const ModuleOutliers::Layer& outlier : outliers_) boost(outlier.unit, stop, selection);
      return Selected{selection, std::nullopt};
    }
    return Unreachable{uniform(0)};
  }

  // The lowest stop that keeps the limit, with as few boosts as it takes.
  MethodResult within_kl() const {
    Selection selection;
    for (size_t stop = 0; stop < ladder_.size(); ++stop) {
      selection = uniform(stop);
      if (keeps_kl(selection)) return Selected{selection, std::nullopt};
      for (const ModuleOutliers::Layer& outlier : outliers_) {
        boost(outlier.unit, stop, selection);
        if (keeps_kl(selection)) return Selected{selection, std::nullopt};
      }
    }
    return Unreachable{selection};
  }

 private:
  const Candidate* at(size_t stop, size_t unit) const {
    return at_stop(*ladder_[std::min(stop, ladder_.size() - 1)], task_.profile.units[unit],
                   task_.open[unit]);
  }

  Selection uniform(size_t stop) const {
    Selection selection;
    for (size_t u = 0; u < task_.open.size(); ++u) selection.push_back(at(stop, u));
    return selection;
  }

  bool keeps_kl(const Selection& selection) const {
    const std::optional<double> kl = kl_of(selection);
    return kl && *kl <= *task_.max_kl;
  }

  void boost(size_t unit, size_t stop, Selection& selection) const {
    const Candidate* before = selection[unit];
    for (const size_t up : kBoosts) {
      selection[unit] = at(stop + up, unit);
      if (!task_.unit_bytes || bytes_of(selection) <= *task_.unit_bytes) return;
    }
    selection[unit] = before;
  }

  const PlanningTask& task_;
  const Ladder ladder_ = make_ladder();
  std::vector<ModuleOutliers::Layer> outliers_;
};

MethodResult plan_by_boosts(const PlanningTask& task, const OutlierRule& rule) {
  const auto scores = layer_scores(task.profile, rule);
  if (const auto* missing = std::get_if<Unmeasured>(&scores)) return *missing;
  std::vector<ModuleOutliers::Layer> outliers;
  for (const ModuleOutliers& module : find_outliers(std::get<0>(scores), rule.change))
    outliers.insert(outliers.end(), module.layers.begin(), module.layers.end());
  std::ranges::stable_sort(outliers, std::greater(), &ModuleOutliers::Layer::z);
  const Booster booster(task, std::move(outliers));
  return task.max_kl ? booster.within_kl() : booster.within_bytes();
}

}  // namespace

MethodResult plan_by_sensitive_outliers(const PlanningTask& task) {
  return plan_by_boosts(task, kSensiBoost);
}
MethodResult plan_by_kurtosis_outliers(const PlanningTask& task) {
  return plan_by_boosts(task, kKurtBoost);
}

}  // namespace klens
