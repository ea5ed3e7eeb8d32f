#include "quant/planners/outliers.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>

#include "base/statistics.h"
#include "quant/layer.h"

namespace klens {
namespace {

constexpr double kThreshold = 3;
constexpr size_t kTrimmed = 20;  // one of so many at each end

double change_of(double from, double to, Change change) {
  if (change == Change::kDifference) return to - from;
  return from == 0 && to == 0 ? 1 : to / from;
}

struct Spread {
  double mean, deviation;
};

// Without the ends, and what is not finite.
Spread trimmed_spread(std::vector<double> changes) {
  std::erase_if(changes, [](double d) { return !std::isfinite(d); });
  std::ranges::sort(changes);
  const size_t end = changes.size() / kTrimmed;
  const std::span<const double> kept = std::span(changes).subspan(end, changes.size() - 2 * end);
  if (kept.empty()) return {0, 0};
  double sum = 0;
  for (const double d : kept) sum += d;
  return {sum / static_cast<double>(kept.size()), standard_deviation(kept)};
}

// The module of a unit, whatever the layer, which others with such a name share.
std::string module_key(const LayerPlace& place) {
  return std::string(place.stack) + '\0' + std::string(place.module);
}

// The unit of the same layer and module but for the last part of the name.
const Unit* sibling(const Profile& profile, const Unit& unit, const char* kind) {
  for (const Unit& other : profile.units)
    if (other.kind == kind && other.block == unit.block &&
        other.name.substr(0, other.name.rfind('.')) == unit.name.substr(0, unit.name.rfind('.')))
      return &other;
  return nullptr;
}

const Unit& scored_as(const Profile& profile, const Unit& unit, const OutlierRule& rule) {
  if (!rule.o_may_be_v || unit.kind != "o_proj") return unit;
  const Unit* v = sibling(profile, unit, "v_proj");
  const bool alike = v == nullptr || (v->rows == unit.rows && v->cols == unit.cols);
  return alike ? unit : *v;
}

}  // namespace

std::vector<Outlier> find_outliers(std::span<const double> scores, Change change, size_t most) {
  std::vector<double> changes;
  for (size_t i = 0; i + 1 < scores.size(); ++i)
    changes.push_back(change_of(scores[i], scores[i + 1], change));
  const Spread spread = trimmed_spread(changes);
  std::vector<Outlier> found;
  for (size_t i = 0; i < changes.size(); ++i) {
    const double away = std::fabs(changes[i] - spread.mean);
    const double z = away > 0 ? away / spread.deviation : 0;
    if (z > kThreshold) found.push_back({i + 1, z});
  }
  std::ranges::stable_sort(found, std::greater(), &Outlier::z);
  if (most > 0 && found.size() > most) found.resize(most);
  return found;
}

std::vector<ModuleOutliers> find_outliers(std::span<const LayerScore> scores, Change change,
                                          size_t most) {
  std::vector<std::string> modules;
  std::map<std::string, std::vector<const LayerScore*>> layers;
  for (const LayerScore& score : scores) {
    std::vector<const LayerScore*>& own = layers[score.module];
    if (own.empty()) modules.push_back(score.module);
    own.push_back(&score);
  }
  std::vector<ModuleOutliers> result;
  for (const std::string& module : modules) {
    std::vector<const LayerScore*>& own = layers[module];
    std::ranges::stable_sort(own, {}, &LayerScore::layer);
    std::vector<double> values;
    for (const LayerScore* score : own) values.push_back(score->score);
    ModuleOutliers& outliers = result.emplace_back(ModuleOutliers{module, {}});
    for (const Outlier& found : find_outliers(values, change, most))
      outliers.layers.push_back({own[found.at]->layer, found.z, own[found.at]->unit});
  }
  return result;
}

std::variant<std::vector<LayerScore>, Unmeasured> layer_scores(const Profile& profile,
                                                               const OutlierRule& rule) {
  std::vector<LayerScore> scores;
  std::map<std::string, std::string> modules;  // as they are called, by all of the name
  std::map<std::string, int> called;
  for (size_t u = 0; u < profile.units.size(); ++u) {
    const Unit& unit = profile.units[u];
    const std::optional<LayerPlace> place = place_of(unit.name);
    if (!place) continue;
    const std::optional<double>& score = scored_as(profile, unit, rule).weights[rule.metric];
    if (!score) return Unmeasured{unit.name, "", rule.metric.name};
    const auto [module, added] = modules.try_emplace(module_key(*place), place->module);
    // Two stacks of layers may have modules of one name.
    if (added && ++called[module->second] > 1)
      module->second = std::string(place->stack) + "." + module->second;
    scores.push_back({module->second, place->layer, *score, u});
  }
  return scores;
}

}  // namespace klens
