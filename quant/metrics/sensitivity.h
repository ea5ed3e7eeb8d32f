#pragma once
#include "quant/metric.h"

namespace klens {

// The activation sensitivity of SensiBoost (arXiv 2503.06518): the mean squared error of what the
// unit's module (attention, MLP, mixer) puts out, its inputs being the original's, when the unit's
// weights have 4 bits in groups of 64 by HQQ. Those that share an input and only act together, q, k
// and v, or gate and up, are quantised together and share one score. Found by
// engine/jobs/sensitivity.h.
inline constexpr Metric kSensitivity = {
    .name = "sensitivity",
    .about = "squared error of the module's outputs, the unit at 4 bits (SensiBoost's)",
    .better = Better::kNeither,
    .from_zero = true,
    .lossless = std::nullopt,
    .of_modules = true};

}  // namespace klens
