#pragma once
#include <string_view>
#include <vector>

#include "apps/serve/tools.h"

namespace klens::apps {

// Calls as Python writes them: [name(key="value", other=3), ...], a single one also without
// brackets, or name.call(...). Values are literals. None where it is anything else.
std::vector<ToolCall> parse_python_calls(std::string_view text, const Tools& tools, bool closed);

}  // namespace klens::apps
