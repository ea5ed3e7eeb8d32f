#pragma once
#include "quant/input_stats.h"
#include "quant/packed_weight.h"

namespace klens {

// GPTQ (arXiv 2210.17323): outputs' columns are rounded one after the other, and what each loses is
// made good, as far as inputs go together, by those that follow. Written as LDLQ (arXiv 2307.13304,
// theorem 6, the same result): column i is rounded at
//   w_i + sum over k < i of (w_k - w'_k) U_ki
// with InputFactor's U, so that nothing is inverted. Columns that matter most come first; a group's
// grid is that of least weighted error (quantize_search) for its weights as they are when its turn
// comes, weighted by what is left to each column, d. Where inputs are unknown, quantize_search.
PackedWeight quantize_gptq(const Format& format, const WeightView& source,
                           const InputStats& inputs);

}  // namespace klens
