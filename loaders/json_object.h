#pragma once
#include <cmath>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"

namespace klens {

// The keys of one object of a parsed file of ours, each asked for by type. What is missing or wrong
// is an Error(kBadFile) "FILE: WHERE: key 'KEY' ...; CURE". A key that is null counts as missing.
// Borrows the parsed JSON.
class JsonObject {
 public:
  // `cure` is what to do about a bad file: "run klens profile again".
  JsonObject(const nlohmann::json& json, std::string file, std::string cure)
      : json_(&json), file_(std::move(file)), cure_(std::move(cure)) {
    if (!json.is_object())
      throw Error(ErrorKind::kBadFile, file_ + ": is not a JSON object; " + cure_);
  }

  // How messages call this object.
  void call_it(const std::string& where) { where_ = where + ": "; }

  [[noreturn]] void fail(const std::string& key, const std::string& what) const {
    throw Error(ErrorKind::kBadFile,
                file_ + ": " + where_ + "key '" + key + "' " + what + "; " + cure_);
  }

  void check_version(const char* key, int64_t known) const {
    const int64_t version = count(key);
    if (version != known)
      fail(key, "says schema version " + std::to_string(version) + ", this program reads version " +
                    std::to_string(known) + ": use a program that fits");
  }

  std::string text(const char* key) const {
    const nlohmann::json* value = find(key);
    if (!value) fail(key, "is missing");
    if (!value->is_string() || value->get_ref<const std::string&>().empty())
      fail(key, "is not a text");
    return value->get<std::string>();
  }
  std::string text_or(const char* key, const char* otherwise) const {
    const nlohmann::json* value = find(key);
    if (!value) return otherwise;
    if (!value->is_string()) fail(key, "is not a text");
    return value->get<std::string>();
  }

  bool flag_or(const char* key, bool otherwise) const {
    const nlohmann::json* value = find(key);
    if (!value) return otherwise;
    if (!value->is_boolean()) fail(key, "is neither true nor false");
    return value->get<bool>();
  }

  int64_t count(const char* key) const {
    if (!find(key)) fail(key, "is missing");
    return integer_or(key, 0, 0);
  }
  int64_t count_or(const char* key, int64_t otherwise) const {
    return integer_or(key, otherwise, 0);
  }
  int64_t integer_or(const char* key, int64_t otherwise, int64_t least) const {
    const nlohmann::json* value = find(key);
    if (!value) return otherwise;
    const bool fits = value->is_number_unsigned() ? value->get<uint64_t>() <= kLargest
                                                  : value->is_number_integer();
    if (!fits || value->get<int64_t>() < least)
      fail(key, "is not a whole number from " + std::to_string(least) + " to 2^50");
    return value->get<int64_t>();
  }
  uint64_t seed_or(const char* key, uint64_t otherwise) const {
    const nlohmann::json* value = find(key);
    if (!value) return otherwise;
    if (!value->is_number_unsigned()) fail(key, "is not a whole number from 0 to 2^64 - 1");
    return value->get<uint64_t>();
  }

  // Magnitudes up to `most`, 1e15 or 1e100: sums of such numbers are finite.
  std::optional<double> number(const char* key, double most = 1e15) const {
    const nlohmann::json* value = find(key);
    if (!value) return std::nullopt;
    if (!is_number(*value, most))
      fail(key, std::string("is not a number of at most ") + (most > 1e15 ? "1e100" : "1e15"));
    return value->get<double>();
  }
  std::optional<double> number_from_zero(const char* key, double most = 1e15) const {
    const std::optional<double> value = number(key, most);
    if (value && *value < 0) fail(key, "is negative");
    return value;
  }
  std::vector<double> numbers(const char* key) const {
    const nlohmann::json* value = find(key);
    if (!value) return {};
    if (!value->is_array()) fail(key, "is not a list of numbers");
    for (const nlohmann::json& item : *value)
      if (!is_number(item, 1e15)) fail(key, "holds something else than numbers of at most 1e15");
    return value->get<std::vector<double>>();
  }

  bool has(const std::string& key) const { return find(key) != nullptr; }
  JsonObject object(const std::string& key) const {
    const nlohmann::json* value = find(key);
    if (!value) fail(key, "is missing");
    return inner(*value, key);
  }
  std::vector<JsonObject> objects(const char* key) const {
    const nlohmann::json* value = find(key);
    if (!value) fail(key, "is missing");
    if (!value->is_array()) fail(key, "is not a list");
    std::vector<JsonObject> list;
    for (const nlohmann::json& item : *value)
      list.push_back(inner(item, std::string(key) + "[" + std::to_string(list.size()) + "]"));
    return list;
  }
  std::vector<std::string> keys() const {
    std::vector<std::string> names;
    for (const auto& item : json_->items()) names.push_back(item.key());
    return names;
  }

 private:
  static constexpr uint64_t kLargest = uint64_t{1} << 50;

  static bool is_number(const nlohmann::json& value, double most) {
    return value.is_number() && std::fabs(value.get<double>()) <= most;
  }
  const nlohmann::json* find(const std::string& key) const {
    const auto at = json_->find(key);
    return at == json_->end() || at->is_null() ? nullptr : &*at;
  }
  JsonObject inner(const nlohmann::json& value, const std::string& key) const {
    if (!value.is_object()) fail(key, "is not a JSON object");
    JsonObject object(value, file_, cure_);
    object.where_ = where_ + key + ": ";
    return object;
  }

  const nlohmann::json* json_;
  std::string file_, where_, cure_;
};

}  // namespace klens
