#pragma once
#include <string>
#include <vector>

#include "apps/cli/command.h"

namespace klens::apps {

// klens(1) for man, from the same tables as --help.
std::string man_page(const std::vector<Command>& commands, const std::string& version);

}  // namespace klens::apps
