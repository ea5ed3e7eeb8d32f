#pragma once
#include "base/aligned_buffer.h"
#include "quant/format.h"

namespace klens {

// A unit's weights in one of the formats, as a model file stores them.
struct PackedWeight {
  const Format* format = nullptr;
  int64_t rows = 0, cols = 0;
  AlignedBuffer qweight, scale;

  WeightView view() const { return packed_view(*format, rows, cols, qweight.data(), scale.data()); }
};

}  // namespace klens
