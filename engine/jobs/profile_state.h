#pragma once
#include <string>

#include "quant/profiler.h"

namespace klens {

// What an interrupted profile has measured, so that it can go on: a JSON file, replaced whole after
// a window. `run` identifies model, windows, students and activations; scores of another run are of
// no use.
void save_profile_state(const std::string& path, const std::string& run, const Scores& scores);

// The scores kept under path; empty if there is no such file. Throws Error if it is damaged,
// belongs to another run, or has not `students` scores per window.
Scores load_profile_state(const std::string& path, const std::string& run, size_t students);

}  // namespace klens
