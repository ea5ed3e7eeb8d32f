#pragma once
#include <span>

#include "quant/packed_weight.h"

namespace klens {

// For each group the grid of least weighted error, sum over columns of importance (w - w')^2, where
// importance is the mean square of what a column is multiplied by: the expected error of the
// matrix's outputs but for correlations between columns. Tries grids around round-to-nearest's, as
// GGML's make_qx_quants and make_qkx2_quants do, and for the integers of each solves for the scale
// (and minimum) by least squares. Never worse than round to nearest, but for the grid's own
// rounding to FP16. FP16 rounds each weight.
PackedWeight quantize_search(const Format& format, const WeightView& source,
                             std::span<const float> importance);

}  // namespace klens
