#pragma once
#include "quant/packed_weight.h"

namespace klens {

// Round to nearest (even), symmetric: qmax = 7 (INT4) or 127 (INT8); per output and group of
// columns
//   scale = FP16(max|w| / qmax), at least 2^-24;  q = clamp(rne(w / scale), -qmax, qmax).
// FP16 rounds each weight to nearest even, saturating at the largest finite half. `source` is any
// layout; its weights are finite. Threads: tbb's current arena.
PackedWeight quantize_rtn(const Format& format, const WeightView& source);

}  // namespace klens
