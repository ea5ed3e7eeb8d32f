#pragma once
#include <string>
#include <vector>

#include "apps/cli/command.h"

namespace klens::apps {

// A file that teaches a shell, "bash" or "zsh", the commands and their options. Throws UsageError
// for another.
std::string completion(const std::vector<Command>& commands, const std::string& shell);

}  // namespace klens::apps
