#pragma once
#include <span>

#include "engine/device/device.h"

namespace klens {

// What a pass computes with: who does the work, with which weights, and for which rows. `weights`
// is indexed by UnitId; a student differs from its teacher in one entry.
struct Pass {
  Lane& lane;
  const std::vector<Weight>& weights;
  const Batch& batch;
};

// A matrix's units among the weights.
inline std::span<const Weight> units_of(const MatrixSpec& matrix,
                                        const std::vector<Weight>& weights) {
  return std::span(weights).subspan(matrix.first_unit, matrix.units);
}

}  // namespace klens
