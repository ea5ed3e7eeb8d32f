#pragma once
#include "quant/input_stats.h"
#include "quant/packed_weight.h"

namespace klens {

// Half-quadratic quantization (Badri and Shaji 2023, mobiusml.github.io/hqq_blog): the scale of a
// group is round to nearest's; its minimum is the one of least |w - w'|^0.7, found by turns: the
// errors shrunk towards outliers (generalised soft threshold, beta = 10, times 1.01 a turn), then
// the minimum that fits what is left, at most 20 turns, until the mean error falls no more (here
// of each group, there of the whole matrix). Formats without minima have nothing to find, and are
// rounded to nearest. Pays no attention to inputs.
PackedWeight quantize_hqq(const Format& format, const WeightView& source, const InputStats& inputs);

}  // namespace klens
