#include "apps/serve/fields.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "apps/cli/output.h"

namespace klens::apps {
namespace {

constexpr int kDeepest = 60;  // the library goes down 64 in what it is given of it

// twice: set to a key that stands twice in one object, of which the last counts.
std::optional<Json> parse_watched(std::string_view text, std::optional<std::string>& twice) {
  bool too_deep = false;
  std::vector<std::set<std::string>> open;  // the keys of objects, each in the one before
  const auto watch = [&](int depth, Json::parse_event_t event, Json& parsed) {
    too_deep |= depth > kDeepest;
    if (too_deep) return false;
    if (event == Json::parse_event_t::object_start)
      open.emplace_back();
    else if (event == Json::parse_event_t::object_end)
      open.pop_back();
    else if (event == Json::parse_event_t::key &&
             !open.back().insert(parsed.get<std::string>()).second)
      twice = parsed.get<std::string>();
    return true;
  };
  Json json = Json::parse(text, watch, false);
  if (too_deep || json.is_discarded()) return std::nullopt;
  return json;
}

}  // namespace

std::optional<Json> parse_json(std::string_view text) {
  std::optional<std::string> twice;
  return parse_watched(text, twice);
}

Json parse_request(const std::string& text) {
  std::optional<std::string> twice;
  std::optional<Json> json = parse_watched(text, twice);
  if (!json || !json->is_object())
    throw ApiError(400, "the request must be a JSON object in UTF-8, nested at most " +
                            std::to_string(kDeepest) + " levels deep");
  if (twice)
    throw ApiError(400, "the request has the key " + compact(Json(twice->substr(0, 100))) +
                            " twice in one object; keep one");
  return std::move(*json);
}

const Json* Fields::find(const char* name) const {
  const auto at = object_.find(name);
  return at == object_.end() || at->is_null() ? nullptr : &*at;
}

void Fields::refuse(const char* name, const std::string& why) const {
  throw ApiError(400, path_ + name + " " + why, path_ + name);
}

bool Fields::flag(const char* name, bool otherwise) const {
  const Json* value = find(name);
  if (value == nullptr) return otherwise;
  if (!value->is_boolean()) refuse(name, "must be true or false");
  return value->get<bool>();
}

std::optional<int64_t> Fields::count(const char* name, int64_t least, int64_t most) const {
  const std::optional<double> value =
      number(name, static_cast<double>(least), static_cast<double>(most));
  if (!value) return std::nullopt;
  if (std::floor(*value) != *value) refuse(name, "must be a whole number");
  return static_cast<int64_t>(*value);
}

std::optional<double> Fields::number(const char* name, double least, double most) const {
  const Json* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number()) refuse(name, "must be a number");
  const double number = value->get<double>();
  if (!(number >= least && number <= most))
    refuse(name, formatted("must be from %g to %g", least, most));
  return number;
}

std::optional<std::string> Fields::text(const char* name) const {
  const Json* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) refuse(name, "must be a string");
  return value->get<std::string>();
}

std::vector<std::string> Fields::texts(const char* name) const {
  const Json* value = find(name);
  if (value == nullptr) return {};
  if (value->is_string()) return {value->get<std::string>()};
  if (!value->is_array() ||
      !std::all_of(value->begin(), value->end(), [](const Json& item) { return item.is_string(); }))
    refuse(name, "must be a string or a list of strings");
  return value->get<std::vector<std::string>>();
}

const Json* Fields::object(const char* name) const {
  const Json* value = find(name);
  if (value != nullptr && !value->is_object()) refuse(name, "must be an object");
  return value;
}

const Json* Fields::list(const char* name) const {
  const Json* value = find(name);
  if (value != nullptr && !value->is_array()) refuse(name, "must be a list");
  return value;
}

void Fields::only(const char* name, std::initializer_list<Json> allowed) const {
  const Json* value = find(name);
  if (value == nullptr || std::find(allowed.begin(), allowed.end(), *value) != allowed.end())
    return;
  refuse(name, "is not supported");
}

}  // namespace klens::apps
