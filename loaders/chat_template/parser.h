#pragma once
#include <string_view>

#include "loaders/chat_template/ast.h"

namespace klens::jinja {

// Throws Failure, with its line.
Body parse_template(std::string_view source);

}  // namespace klens::jinja
