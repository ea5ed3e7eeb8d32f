#pragma once
#include <string>
#include <vector>

#include "apps/cli/command.h"

namespace klens::apps {

std::string program_help(const std::vector<Command>& commands);
std::string command_help(const Command& command);
// Parts of them: what klens and a MODEL are, and what sets options beside the command line.
std::string program_about();
std::string environment_about();

}  // namespace klens::apps
