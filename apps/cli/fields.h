#pragma once
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

namespace klens::apps {

// Keys of a report's or a file's object, where null and another type than the one that is asked for
// count as missing.

inline std::string text_at(const nlohmann::ordered_json& json, const std::string& key) {
  const auto it = json.find(key);
  return it != json.end() && it->is_string() ? it->get<std::string>() : "";
}

inline int64_t integer_at(const nlohmann::ordered_json& json, const std::string& key,
                          int64_t otherwise) {
  const auto it = json.find(key);
  return it != json.end() && it->is_number() ? it->get<int64_t>() : otherwise;
}

// A finite one.
inline std::optional<double> number_at(const nlohmann::ordered_json& json, const std::string& key) {
  const auto it = json.find(key);
  if (it == json.end() || !it->is_number() || !std::isfinite(it->get<double>()))
    return std::nullopt;
  return it->get<double>();
}

}  // namespace klens::apps
