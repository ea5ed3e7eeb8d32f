#pragma once
#include <span>

#include "quant/input_stats.h"
#include "quant/packed_weight.h"

namespace klens {

// Round to nearest (even): the grid of a group reaches its largest weight. With lowest and highest
// the format's integers,
//   INT8:            scale = max|w| / 127
//   other integers:  scale = (the weight of the largest magnitude) / lowest, of either sign, so
//   that
//                    this weight is on the grid's longer side (as GGML's Q4_0 and Q5_0)
//   with a minimum:  min = min w, scale = (max w - min w) / highest (as GGML's Q4_1 and Q5_1)
// FP16 rounds each weight. Weights beyond FP16's reach saturate: see reaches(). Pays no attention
// to inputs.
PackedWeight quantize_rtn(const Format& format, const WeightView& source, const InputStats& inputs);

// The grid of a group, as above.
struct Grid;
struct Levels;
Grid rtn_grid(std::span<const float> weights, const Levels& levels, bool minimum);

}  // namespace klens
