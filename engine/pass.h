#pragma once
#include "engine/device/device.h"

namespace klens {

// What a pass computes with: who does the work, with which weights, and for which rows. `weights`
// is indexed by UnitId; a student differs from its teacher in one entry.
struct Pass {
  Lane& lane;
  const std::vector<Weight>& weights;
  const Batch& batch;
};

}  // namespace klens
