#include "loaders/config.h"

#include <cmath>

#include "base/error.h"
#include "loaders/json.h"

namespace klens {
namespace {

std::string first(std::initializer_list<const char*> keys) { return *keys.begin(); }

// Python's json writes Infinity, -Infinity and NaN where JSON has no word; they become
// {"__float__": "Infinity"}, which transformers writes nowadays.
std::string with_named_numbers(const std::string& text) {
  std::string result;
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '"' || (quoted && c == '\\')) {
      result += c;
      if (c == '"') quoted = !quoted;
      if (c == '\\' && ++i < text.size()) result += text[i];
      continue;
    }
    size_t word = 0;
    if (!quoted)
      for (const std::string_view known : {"Infinity", "-Infinity", "NaN"})
        if (text.compare(i, known.size(), known) == 0) word = known.size();
    if (word == 0) {
      result += c;
      continue;
    }
    result += "{\"__float__\":\"" + text.substr(i, word) + "\"}";
    i += word - 1;
  }
  return result;
}

}  // namespace

Config::Config(const std::string& text, const std::string& name)
    : Config(parse_json(with_named_numbers(text), name), name) {}

Config::Config(JsonDocument object, const std::string& name)
    : name_(name),
      object_(std::move(object)),
      read_(std::make_shared<std::set<std::string, std::less<>>>()) {
  if (!object_->is_object()) fail("is not a JSON object");
}

void Config::fail(const std::string& what) const {
  throw Error(ErrorKind::kBadFile, name_ + ": " + what + "; get the file again, or correct it");
}

void Config::unsupported(const std::string& what) const {
  throw Error(ErrorKind::kUnsupported, name_ + ": " + what);
}

const nlohmann::json* Config::find(std::initializer_list<const char*> keys) const {
  for (const char* key : keys) read_->insert(key);
  for (const char* key : keys) {
    const auto found = object_->find(key);
    if (found != object_->end() && !found->is_null()) return &*found;
  }
  return nullptr;
}

const nlohmann::json* Config::find_list(const char* key) const {
  const nlohmann::json* list = find({key});
  if (list != nullptr && !list->is_array()) fail(std::string(key) + " is not a list");
  return list;
}

double Config::real_number(const nlohmann::json& value) const {
  if (value.is_number()) return value.get<double>();
  if (!value.is_object() || value.size() != 1 || !value.contains("__float__")) return NAN;
  const nlohmann::json& word = value["__float__"];
  return word == "Infinity" ? INFINITY : word == "-Infinity" ? -INFINITY : NAN;
}

int64_t Config::whole_number(const nlohmann::json& value, const char* key, int64_t min,
                             int64_t max) const {
  // A number above 2^63 is stored as unsigned and would turn negative.
  const bool fits = value.is_number_integer() &&
                    (!value.is_number_unsigned() || value.get<uint64_t>() <= uint64_t{INT64_MAX});
  if (!fits || value.get<int64_t>() < min || value.get<int64_t>() > max)
    fail(std::string(key) + " is " + shown_json(value) + ", which is not a whole number from " +
         std::to_string(min) + " to " + std::to_string(max));
  return value.get<int64_t>();
}

int64_t Config::integer(std::initializer_list<const char*> keys, int64_t min, int64_t max,
                        std::optional<int64_t> fallback) const {
  const nlohmann::json* value = find(keys);
  if (value != nullptr) return whole_number(*value, *keys.begin(), min, max);
  if (!fallback) fail("lacks " + first(keys));
  return *fallback;
}

bool Config::is_list(const char* key) const {
  const nlohmann::json* value = find({key});
  return value != nullptr && value->is_array();
}

bool Config::is_text(const char* key) const {
  const nlohmann::json* value = find({key});
  return value != nullptr && value->is_string();
}

std::vector<int64_t> Config::integers(const char* key, int64_t min, int64_t max) const {
  const nlohmann::json* list = find_list(key);
  std::vector<int64_t> found;
  if (list == nullptr) return found;
  for (const nlohmann::json& value : *list) found.push_back(whole_number(value, key, min, max));
  return found;
}

std::vector<double> Config::numbers(const char* key) const {
  const nlohmann::json* list = find_list(key);
  std::vector<double> found;
  if (list == nullptr) return found;
  for (const nlohmann::json& value : *list) {
    found.push_back(real_number(value));
    if (std::isnan(found.back())) fail(std::string(key) + " holds " + shown_json(value));
  }
  return found;
}

std::vector<std::string> Config::texts(const char* key) const {
  const nlohmann::json* list = find_list(key);
  std::vector<std::string> found;
  if (list == nullptr) return found;
  for (const nlohmann::json& value : *list) {
    if (!value.is_string()) fail(std::string(key) + " holds " + shown_json(value));
    found.push_back(value.get<std::string>());
  }
  return found;
}

std::vector<std::vector<int64_t>> Config::integer_lists(const char* key, int64_t min,
                                                        int64_t max) const {
  const nlohmann::json* lists = find_list(key);
  std::vector<std::vector<int64_t>> found;
  if (lists == nullptr) return found;
  for (const nlohmann::json& list : *lists) {
    if (!list.is_array()) fail(std::string(key) + " holds " + shown_json(list));
    found.emplace_back();
    for (const nlohmann::json& value : list)
      found.back().push_back(whole_number(value, key, min, max));
  }
  return found;
}

double Config::number(std::initializer_list<const char*> keys, double min, double max,
                      std::optional<double> fallback) const {
  const nlohmann::json* value = find(keys);
  if (value == nullptr) {
    if (!fallback) fail("lacks " + first(keys));
    return *fallback;
  }
  const double number = real_number(*value);
  if (!(number >= min && number <= max))
    fail(first(keys) + " is " + shown_json(*value) + ", which is not a number from " +
         nlohmann::json(min).dump() + " to " + nlohmann::json(max).dump());
  return number;
}

bool Config::boolean(std::initializer_list<const char*> keys, bool fallback) const {
  const nlohmann::json* value = find(keys);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) fail(first(keys) + " is neither true nor false");
  return value->get<bool>();
}

std::string Config::text(std::initializer_list<const char*> keys,
                         const std::string& fallback) const {
  const nlohmann::json* value = find(keys);
  if (value == nullptr) return fallback;
  if (!value->is_string()) fail(first(keys) + " is not a string");
  return value->get<std::string>();
}

std::string Config::architecture() const {
  const nlohmann::json* list = find({"architectures"});
  if (list == nullptr) return "";
  if (!list->is_array()) fail("architectures is not a list");
  if (list->empty()) return "";
  if (!list->front().is_string()) fail("architectures[0] is not a string");
  return list->front().get<std::string>();
}

Config Config::child(const char* key) const {
  const nlohmann::json* value = find({key});
  return Config(JsonDocument(value == nullptr ? nlohmann::json::object() : *value),
                name_ + " (" + key + ")");
}

Config Config::language() const {
  return has_content("text_config") ? child("text_config") : *this;
}

bool Config::has_content(const char* key) const {
  const nlohmann::json* value = find({key});
  return value != nullptr && !((value->is_array() || value->is_object()) && value->empty());
}

bool Config::is_zero(const std::string& key) const {
  const auto found = object_->find(key);
  return found != object_->end() && found->is_number() && found->get<double>() == 0;
}

bool Config::off(const nlohmann::json& value) {
  if (value.is_array() || value.is_object() || value.is_string()) return value.empty();
  if (value.is_boolean()) return !value.get<bool>();
  return value.is_null();
}

std::vector<std::string> Config::unread() const {
  std::vector<std::string> keys;
  for (const auto& [key, value] : object_->items())
    if (read_->count(key) == 0 && !off(value)) keys.push_back(key);
  return keys;
}

}  // namespace klens
