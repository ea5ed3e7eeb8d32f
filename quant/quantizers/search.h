#pragma once
#include <span>

#include "quant/input_stats.h"
#include "quant/quantizers/pack.h"

namespace klens {

// The grid of a group whose weights lose least, sum of h (w - w')^2. Tries grids around
// round-to-nearest's, as GGML's make_qx_quants and make_qkx2_quants do, and for the integers of
// each solves for the scale (and minimum) by least squares. Never worse than round to nearest, but
// for the grid's own rounding to FP16.
class GridSearch {
 public:
  GridSearch(const Levels& levels, bool minimum) : levels_(levels), minimum_(minimum) {}
  // h: [w.size()], not negative.
  Grid best(std::span<const float> w, const float* h) const;

 private:
  Grid around(const Grid& start, std::span<const float> w, const float* h) const;

  Levels levels_;
  bool minimum_;
};

// For each group the grid of least weighted error, sum over columns of importance (w - w')^2, where
// importance is the mean square of what a column is multiplied by: the expected error of the
// matrix's outputs but for correlations between columns. FP16 rounds each weight.
PackedWeight quantize_search(const Format& format, const WeightView& source,
                             const InputStats& inputs);

}  // namespace klens
