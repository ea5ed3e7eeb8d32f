#pragma once
#include <string>

#include "apps/report/inputs.h"

namespace klens::apps {

// Sections of the page that need a profile.

// A map of layers and kinds for each metric, the units that lose most, and all numbers.
std::string sensitivity_section(const ReportInputs& inputs);
// The format of each matrix, a map for each plan.
std::string plan_section(const ReportInputs& inputs);
// Whether metrics put units into the same order.
std::string agreement_section(const ReportInputs& inputs);

}  // namespace klens::apps
