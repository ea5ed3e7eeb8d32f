#pragma once
#include "quant/input_stats.h"
#include "quant/packed_weight.h"

namespace klens {

// What a matrix's outputs lose by ways to pack it, over what they are: the sum over outputs of
// E[((w - w') x)^2] over that of E[(w x)^2], inputs x being as the stats say; 0 for a matrix of
// zeros. Inputs that nothing is known of count as independent, and as equally large.
class OutputError {
 public:
  // The matrix, and its inputs, which outlive this.
  OutputError(const WeightView& source, const InputStats& inputs);
  double of(const PackedWeight& packed) const;

 private:
  const InputStats& inputs_;
  int64_t cols_;
  std::vector<float> source_;  // [outputs][cols], in the order in which losses are summed
  double whole_;
};

}  // namespace klens
