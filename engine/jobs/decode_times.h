#pragma once
#include "engine/jobs/progress.h"
#include "engine/model.h"
#include "quant/profile.h"

namespace klens {

// What decoding a token takes on this machine, with the model's threads: fills in decode_us of all
// candidates, decode_rest_us and timed_on. Units of one shape are timed once in each choice, over
// so many copies that weights come from where a whole model's do, memory or a cache. The rest is
// what a decoded token of this model takes beyond its units.
void measure_decode_times(const Model& model, Profile& profile, Progress& progress);

// Tokens per second of a fresh sequence that is decoded alone: the median of some stretches.
double measure_decode_speed(const Model& model);

}  // namespace klens
