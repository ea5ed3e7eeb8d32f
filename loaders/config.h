#pragma once
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "loaders/json.h"

namespace klens {

// A config.json, read key by key. Every accessor throws Error naming file and key when a value has
// the wrong type or is out of range; `keys` lists the spellings of one setting, the first found
// counts, and null is as good as absent. Infinity is a number here, spelled as Python's json has it
// or as {"__float__": "Infinity"}.
class Config {
 public:
  // Throws Error if it is not a JSON object.
  Config(const std::string& text, const std::string& name);
  Config(JsonDocument object, const std::string& name);
  Config(const nlohmann::json&, const std::string&) = delete;  // it would become a text

  const std::string& name() const { return name_; }
  bool has(std::initializer_list<const char*> keys) const { return find(keys) != nullptr; }

  int64_t integer(std::initializer_list<const char*> keys, int64_t min, int64_t max,
                  std::optional<int64_t> fallback = std::nullopt) const;
  double number(std::initializer_list<const char*> keys, double min, double max,
                std::optional<double> fallback = std::nullopt) const;
  bool boolean(std::initializer_list<const char*> keys, bool fallback) const;
  std::string text(std::initializer_list<const char*> keys, const std::string& fallback) const;

  bool is_list(const char* key) const;
  // Whether the key is there, be it null.
  bool names(const char* key) const { return object_->contains(key); }
  // Whether it is the number 0; not counted as asking for the key.
  bool is_zero(const std::string& key) const;
  bool is_text(const char* key) const;
  // A list of whole numbers; empty if absent.
  std::vector<int64_t> integers(const char* key, int64_t min, int64_t max) const;

  // Lists of numbers, of strings, of lists of whole numbers; empty if absent.
  std::vector<double> numbers(const char* key) const;
  std::vector<std::string> texts(const char* key) const;
  std::vector<std::vector<int64_t>> integer_lists(const char* key, int64_t min, int64_t max) const;

  // architectures[0], or "".
  std::string architecture() const;
  // Of the language model: text_config where a model that sees images keeps it there, else all.
  Config language() const;
  // The object under key as a Config of its own (empty if absent).
  Config child(const char* key) const;
  // Non-empty if key holds something other than null, an empty list or an empty object.
  bool has_content(const char* key) const;

  // The keys that nothing has asked for and whose value is not null, false or empty.
  std::vector<std::string> unread() const;

  [[noreturn]] void fail(const std::string& what) const;         // kBadFile
  [[noreturn]] void unsupported(const std::string& what) const;  // kUnsupported

 private:
  static bool off(const nlohmann::json& value);
  int64_t whole_number(const nlohmann::json& value, const char* key, int64_t min,
                       int64_t max) const;
  double real_number(const nlohmann::json& value) const;
  const nlohmann::json* find_list(const char* key) const;
  const nlohmann::json* find(std::initializer_list<const char*> keys) const;

  std::string name_;
  JsonDocument object_;
  std::shared_ptr<std::set<std::string, std::less<>>> read_;  // keys asked for
};

}  // namespace klens
