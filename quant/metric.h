#pragma once
#include <cstdint>
#include <optional>
#include <vector>

#include "kernels/weights.h"

namespace klens {

// What one window says of a student: sums over its positions (labels: those with a next token).
struct WindowScore {
  double kl = 0, kl_reverse = 0;          // nats
  double delta_ce = 0, ce = 0;            // nats, over labels; ce is the student's
  double squared_error = 0, squared = 0;  // over all logits: (z - zq)^2, z^2
  int64_t positions = 0, labels = 0;
  std::vector<double> largest;  // KLs of positions, in no order: so many as were asked for

  WindowScore& operator+=(const WindowScore& other) {
    kl += other.kl;
    kl_reverse += other.kl_reverse;
    delta_ce += other.delta_ce;
    ce += other.ce;
    squared_error += other.squared_error;
    squared += other.squared;
    positions += other.positions;
    labels += other.labels;
    largest.insert(largest.end(), other.largest.begin(), other.largest.end());
    return *this;
  }

  double per_position(double sum) const { return sum / static_cast<double>(positions); }
  double per_label(double sum) const { return sum / static_cast<double>(labels < 1 ? 1 : labels); }
};

enum class Better { kLower, kHigher, kNeither };

// A figure of a candidate, or of a unit's weights whatever they become. One file in metrics/ each.
struct Metric {
  const char* name;   // the key in profile.json, and what options say
  const char* about;  // for lists of metrics: one line, no full stop
  Better better;
  bool from_zero;                  // never negative, and may be large
  std::optional<double> lossless;  // of a candidate that loses nothing; none: not known then
  // One of the two: from the sums over all windows, with the vocabulary's size; from the weights.
  // Neither: of a candidate's own outputs.
  double (*of_scores)(const WindowScore& sum, int64_t vocab) = nullptr;
  double (*of_weights)(const WeightView& weights) = nullptr;
  // Of a unit, from what its module puts out.
  bool of_modules = false;

  bool of_candidates() const { return of_weights == nullptr && !of_modules; }
};

}  // namespace klens
