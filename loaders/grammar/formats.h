#pragma once
#include <string>

namespace klens::grammar {

// The pattern that stands for a `format` of JSON Schema; null for one that is not known. It allows
// no text that is not of the format, and nearly all that are: days are those that every month has
// where a month's length matters, and of addresses of IPv6 the full and the shortened forms.
const char* format_pattern(const std::string& name);
std::string format_names();  // for messages

}  // namespace klens::grammar
