#pragma once
#include <string>

#include "apps/report/inputs.h"

namespace klens::apps {

// The whole page: HTML that needs nothing else, no network and no script. Throws Error where the
// files have nothing to show.
std::string report_page(const ReportInputs& inputs);

}  // namespace klens::apps
