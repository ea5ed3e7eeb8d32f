#pragma once
#include <nlohmann/json.hpp>
#include <string>

#include "apps/terminal/style.h"

namespace klens::apps {

// A sweep as `klens sweep` prints it: a line for each point, method by method, of at most 80
// columns but for the reasons why there is no plan.
std::string sweep_table(const nlohmann::ordered_json& sweep, const Style& style);

}  // namespace klens::apps
