#pragma once
#include "quant/input_stats.h"
#include "quant/packed_weight.h"

namespace klens {

// What the outputs lose by a matrix's being packed, over what they are: the sum over outputs of
// E[((w - w') x)^2] over that of E[(w x)^2], inputs x being as the stats say; 0 for a matrix of
// zeros. Inputs that nothing is known of count as independent, and as equally large.
double output_error(const PackedWeight& packed, const WeightView& source, const InputStats& inputs);

}  // namespace klens
