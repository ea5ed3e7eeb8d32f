#pragma once
#include <string>

#include "apps/report/inputs.h"

namespace klens::apps {

// Sections of the page that need a sweep; "" where it has nothing for them.

// KL against bytes, a line for each method, and points of other engines.
std::string frontier_section(const ReportInputs& inputs);
// What the profile promised against what was measured.
std::string prediction_section(const ReportInputs& inputs);

}  // namespace klens::apps
