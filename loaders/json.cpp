#include "loaders/json.h"

#include <set>
#include <vector>

#include "loaders/error.h"
#include "loaders/file_kind.h"

namespace klens {
namespace {

constexpr const char* kAgain = "; get the file again, or correct it";

// Finds the first bracket that is nested too deeply. Strings are skipped; that the rest is JSON is
// the parser's to say. Returns the colons, of which JSON has one for each key.
size_t check_depth(std::string_view text, const std::string& name) {
  int depth = 0;
  size_t colons = 0;
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
                                             std::to_string(i) + kAgain);
    } else if (c == ']' || c == '}') {
      --depth;
    } else if (c == ':') {
      ++colons;
    }
  }
  return colons;
}

// The keys of all objects in a value.
size_t count_keys(const nlohmann::json& value) {
  size_t keys = value.is_object() ? value.size() : 0;
  if (value.is_structured())
    for (const nlohmann::json& inner : value) keys += count_keys(inner);
  return keys;
}

// A callback for nlohmann's parser that knows the keys of the objects that are open.
nlohmann::json::parser_callback_t refuse_duplicates(const std::string& name) {
  using Event = nlohmann::json::parse_event_t;
  return [name, open = std::vector<std::set<std::string>>()](int, Event event,
                                                             nlohmann::json& value) mutable {
    if (event == Event::object_start) open.emplace_back();
    if (event == Event::object_end) open.pop_back();
    if (event == Event::key && !open.back().insert(value.get<std::string>()).second)
      throw Error(ErrorKind::kBadFile, name + ": key " + brief(value.get<std::string>()) +
                                           " stands there twice" + kAgain);
    return true;
  };
}

}  // namespace

std::string brief(std::string_view text) {
  constexpr size_t kMost = 100;
  if (text.size() <= kMost) return std::string(text);
  size_t length = kMost;
  // A cut must not split a UTF-8 character: step back over continuation bytes.
  while (length > 0 && (static_cast<unsigned char>(text[length]) & 0xc0) == 0x80) --length;
  return std::string(text.substr(0, length)) + "...";
}

nlohmann::json parse_json(std::string_view text, const std::string& name,
                          DuplicateKeys duplicates) {
  const auto bytes = std::as_bytes(std::span(text));
  refuse_stand_in(bytes, name);
  if (const char* kind = kind_name(kind_of_bytes(bytes)); *kind != '\0')
    throw Error(ErrorKind::kBadFile, name + ": is " + kind + ", not JSON; name another file");
  const size_t keys = check_depth(text, name);
  try {
    nlohmann::json parsed = nlohmann::json::parse(text.begin(), text.end());
    // The callback takes several times as long as the parser: it is for finding which key it is.
    if (duplicates == DuplicateKeys::kRefused && count_keys(parsed) != keys)
      parsed = nlohmann::json::parse(text.begin(), text.end(), refuse_duplicates(name));
    return parsed;
  } catch (const nlohmann::json::parse_error& e) {
    // nlohmann's message repeats the input read last, which may be long or binary; the position is
    // enough.
    throw Error(ErrorKind::kBadFile,
                name + ": is not valid JSON at byte " + std::to_string(e.byte) + kAgain);
  } catch (const nlohmann::json::out_of_range&) {
    throw Error(ErrorKind::kBadFile, name + ": JSON holds a number that is out of range" + kAgain);
  }
}

}  // namespace klens
