#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "quant/planners/methods.h"

namespace klens {

// Which layers stand out, as SensiBoost and KurtBoost find them (arXiv 2503.06518): by how a score
// changes from one layer to the next, for each module on its own.

enum class Change { kRatio, kDifference };

struct Outlier {
  size_t at;  // the later of the two scores
  double z;   // how many deviations the change is from the mean one
};

// scores: of consecutive layers. d_i is what comes after s_i, as ratio or difference; mean and
// deviation (n - 1) are those of all d but the twentieth part at each end, rounded down; outliers
// are the i + 1 with |d_i - mean| / deviation above 3, largest first, `most` at most (0: all).
// Falls count as rises do, the first layer never stands out, and neither can any of fewer than
// twelve. A rise from 0 is infinite, and counts for no mean.
std::vector<Outlier> find_outliers(std::span<const double> scores, Change change, size_t most = 0);

struct LayerScore {
  std::string module;  // "self_attn.q_proj"
  int64_t layer = 0;
  double score = 0;
  size_t unit = 0;  // of the profile it is from
};

struct ModuleOutliers {
  std::string module;
  struct Layer {
    int64_t layer;
    double z;
    size_t unit;
  };
  std::vector<Layer> layers;  // largest z first
};

// Modules in the order in which they first come, also those without outliers.
std::vector<ModuleOutliers> find_outliers(std::span<const LayerScore> scores, Change change,
                                          size_t most = 0);

// What a method finds outliers of.
struct OutlierRule {
  const Metric& metric;  // of units
  Change change;
  // In a layer whose v and o differ in shape (grouped queries), o has the score of q, k and v.
  bool o_may_be_v;
};

// The scores of a profile's units within layers, in their order; or which unit has none.
std::variant<std::vector<LayerScore>, Unmeasured> layer_scores(const Profile& profile,
                                                               const OutlierRule& rule);

inline constexpr OutlierRule kSensiBoost{kSensitivity, Change::kRatio, true};
inline constexpr OutlierRule kKurtBoost{kKurtosis, Change::kDifference, false};

}  // namespace klens
