#pragma once
#include "quant/packed_weight.h"

namespace klens {

// Round to nearest (even), symmetric: qmax = 7 (INT4) or 127 (INT8); per output and group of
// columns
//   scale = FP16(max|w| / qmax), at least 2^-24;  q = clamp(rne(w / scale), -qmax, qmax).
// FP16 rounds each weight to nearest even. Weights and scales beyond FP16 (65504) saturate: see
// reaches(). `source` is any layout; its weights are finite. Threads: tbb's current arena.
PackedWeight quantize_rtn(const Format& format, const WeightView& source);

// The largest |weight|, or what FP16 can hold at most where the weights are FP16.
float largest_weight(const WeightView& source);
// Whether a format holds weights up to `largest`: its numbers or their scales are FP16.
bool reaches(const Format& format, float largest);

}  // namespace klens
