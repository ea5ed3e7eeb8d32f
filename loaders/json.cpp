#include "loaders/json.h"

#include "loaders/error.h"

namespace klens {
namespace {

// Finds the first bracket that is nested too deeply. Strings are skipped; that the rest is JSON is
// the parser's to say.
void check_depth(std::string_view text, const std::string& name) {
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > kMaxJsonDepth)
        throw Error(ErrorKind::kBadFile, name + ": JSON is nested deeper than " +
                                             std::to_string(kMaxJsonDepth) + " levels at byte " +
                                             std::to_string(i));
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
}

}  // namespace

nlohmann::json parse_json(std::string_view text, const std::string& name) {
  check_depth(text, name);
  try {
    return nlohmann::json::parse(text.begin(), text.end());
  } catch (const nlohmann::json::parse_error& e) {
    // nlohmann's message repeats the input read last, which may be long or binary; the position is
    // enough.
    throw Error(ErrorKind::kBadFile,
                name + ": is not valid JSON at byte " + std::to_string(e.byte));
  } catch (const nlohmann::json::out_of_range&) {
    throw Error(ErrorKind::kBadFile, name + ": JSON holds a number that is out of range");
  }
}

}  // namespace klens
