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

// Empties a value without allocating.
void take_apart(nlohmann::json& value) noexcept;

// A nlohmann::json that may be large. To destroy one allocates, 16 bytes for each element, and
// where there is no memory for that, ends the process; this one is taken apart first.
class JsonDocument {
 public:
  JsonDocument() = default;
  explicit JsonDocument(nlohmann::json value) : value_(std::move(value)) {}
  JsonDocument(const JsonDocument&) = default;
  JsonDocument(JsonDocument&&) noexcept = default;
  JsonDocument& operator=(JsonDocument other) noexcept {
    value_.swap(other.value_);
    return *this;
  }
  ~JsonDocument() { take_apart(value_); }

  operator nlohmann::json() && { return std::move(value_); }  // for one that is small
  nlohmann::json& operator*() { return value_; }
  const nlohmann::json& operator*() const { return value_; }
  nlohmann::json* operator->() { return &value_; }
  const nlohmann::json* operator->() const { return &value_; }

 private:
  nlohmann::json value_;
};

// Parses a whole JSON text. `name` is the file's name for messages. Throws Error(kBadFile) with the
// name and the byte position if the text is not JSON, not UTF-8, or nested deeper than
// kMaxJsonDepth.
JsonDocument parse_json(std::string_view text, const std::string& name,
                        DuplicateKeys duplicates = DuplicateKeys::kLastCounts);

// The same with the members of objects in the order of the text.
nlohmann::ordered_json parse_ordered_json(std::string_view text, const std::string& name);

// A text of a file as a message shows it: cut to some 100 bytes, so that what follows it, the cure,
// is still seen.
std::string brief(std::string_view text);

// A value as a message shows it: short, and never a reason to fail itself.
std::string shown_json(const nlohmann::json& value);

// How messages on files of weights end that cannot be whole.
inline constexpr const char* kGetAgain = ": the file is truncated or damaged, get it again";

}  // namespace klens
