#include "loaders/config.h"

#include <cmath>

#include "loaders/error.h"
#include "loaders/json.h"

namespace klens {
namespace {

std::string first(std::initializer_list<const char*> keys) { return *keys.begin(); }

// A value as a message shows it: short, and never a reason to fail itself.
std::string shown(const nlohmann::json& value) {
  return brief(value.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace));
}

}  // namespace

Config::Config(const std::string& text, const std::string& name)
    : Config(parse_json(text, name), name) {}

Config::Config(nlohmann::json object, const std::string& name)
    : name_(name), object_(std::move(object)) {
  if (!object_.is_object()) fail("is not a JSON object");
}

void Config::fail(const std::string& what) const {
  throw Error(ErrorKind::kBadFile, name_ + ": " + what + "; get the file again, or correct it");
}

void Config::unsupported(const std::string& what) const {
  throw Error(ErrorKind::kUnsupported, name_ + ": " + what);
}

const nlohmann::json* Config::find(std::initializer_list<const char*> keys) const {
  for (const char* key : keys) {
    const auto found = object_.find(key);
    if (found != object_.end() && !found->is_null()) return &*found;
  }
  return nullptr;
}

int64_t Config::whole_number(const nlohmann::json& value, const char* key, int64_t min,
                             int64_t max) const {
  // A number above 2^63 is stored as unsigned and would turn negative.
  const bool fits = value.is_number_integer() &&
                    (!value.is_number_unsigned() || value.get<uint64_t>() <= uint64_t{INT64_MAX});
  if (!fits || value.get<int64_t>() < min || value.get<int64_t>() > max)
    fail(std::string(key) + " is " + shown(value) + ", which is not a whole number from " +
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
  const nlohmann::json* list = find({key});
  if (list == nullptr) return {};
  if (!list->is_array()) fail(std::string(key) + " is not a list");
  std::vector<int64_t> numbers;
  for (const nlohmann::json& value : *list) numbers.push_back(whole_number(value, key, min, max));
  return numbers;
}

double Config::number(std::initializer_list<const char*> keys, double min, double max,
                      std::optional<double> fallback) const {
  const nlohmann::json* value = find(keys);
  if (value == nullptr) {
    if (!fallback) fail("lacks " + first(keys));
    return *fallback;
  }
  const double number = value->is_number() ? value->get<double>() : NAN;
  if (!(number >= min && number <= max))
    fail(first(keys) + " is " + shown(*value) + ", which is not a number from " +
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
  return Config(value == nullptr ? nlohmann::json::object() : *value, name_ + " (" + key + ")");
}

bool Config::has_content(const char* key) const {
  const nlohmann::json* value = find({key});
  return value != nullptr && !((value->is_array() || value->is_object()) && value->empty());
}

}  // namespace klens
