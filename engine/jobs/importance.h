#pragma once
#include <span>
#include <string>
#include <vector>

#include "engine/jobs/calibration.h"
#include "engine/jobs/progress.h"
#include "engine/model.h"

namespace klens {

// How much each column of a unit matters to its outputs: the sum of squares of what it was
// multiplied by over calibration windows (an importance matrix, as llama.cpp calls it). By unit;
// nothing for a unit that multiplied nothing (an embedding, an expert that no token chose).
class Importance {
 public:
  Importance() = default;
  explicit Importance(std::vector<std::vector<float>> units) : units_(std::move(units)) {}
  // [cols], or empty: all columns alike.
  std::span<const float> of(size_t unit) const {
    return unit < units_.size() ? std::span<const float>(units_[unit]) : std::span<const float>();
  }
  bool none() const { return units_.empty(); }

 private:
  std::vector<std::vector<float>> units_;
};

// Runs the model over the windows, one after the other. Deterministic, whatever the threads.
Importance measure_importance(const Model& model, const Windows& windows, Progress& progress);

}  // namespace klens
