#pragma once
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace klens {

// The deepest nesting of arrays and objects that parse_json accepts. Copying, comparing and dumping
// a nlohmann::json recurse, so an unlimited depth would let a file overflow the stack.
inline constexpr int kMaxJsonDepth = 64;

// What a key that stands twice in one object means: the last one counts, as in Python's json, or an
// error, as the safetensors format asks.
enum class DuplicateKeys { kLastCounts, kRefused };

// Parses a whole JSON text. `name` is the file's name for messages. Throws Error(kBadFile) with the
// name and the byte position if the text is not JSON, not UTF-8, or nested deeper than
// kMaxJsonDepth.
nlohmann::json parse_json(std::string_view text, const std::string& name,
                          DuplicateKeys duplicates = DuplicateKeys::kLastCounts);

// A text of a file as a message shows it: cut to some 100 bytes, so that what follows it, the cure,
// is still seen.
std::string brief(std::string_view text);

}  // namespace klens
