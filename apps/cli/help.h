#pragma once
#include <string>
#include <vector>

#include "apps/cli/command.h"

namespace klens::apps {

std::string program_help(const std::vector<Command>& commands);
std::string command_help(const Command& command);

}  // namespace klens::apps
