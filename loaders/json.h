#pragma once
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace klens {

// The deepest nesting of arrays and objects that parse_json accepts. Copying, comparing and dumping
// a nlohmann::json recurse, so an unlimited depth would let a file overflow the stack.
inline constexpr int kMaxJsonDepth = 64;

// Parses a whole JSON text. `name` is the file's name for messages. Throws Error(kBadFile) with the
// name and the byte position if the text is not JSON, not UTF-8, or nested deeper than
// kMaxJsonDepth. Of duplicate keys the last one counts, as in Python's json.
nlohmann::json parse_json(std::string_view text, const std::string& name);

}  // namespace klens
