#pragma once
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "apps/serve/api_error.h"

namespace klens::apps {

using Json = nlohmann::ordered_json;

// JSON of text; nothing where it is none, or is nested deeper than what goes down in it can.
std::optional<Json> parse_json(std::string_view text);
// The JSON text of a request as an object, no key twice in one. Throws ApiError.
Json parse_request(const std::string& text);

// The fields of a request's object. null counts as missing. Every getter throws ApiError, naming
// the field, where the value is not what is asked for.
class Fields {
 public:
  // path: what names of fields begin with, "stream_options.".
  explicit Fields(const Json& object, std::string path = "") : object_(object), path_(path) {}

  const Json* find(const char* name) const;  // null where it is missing
  bool has(const char* name) const { return find(name) != nullptr; }
  bool flag(const char* name, bool otherwise) const;
  std::optional<int64_t> count(const char* name, int64_t least, int64_t most) const;
  std::optional<double> number(const char* name, double least, double most) const;
  std::optional<std::string> text(const char* name) const;
  std::vector<std::string> texts(const char* name) const;  // one, or a list of them
  const Json* object(const char* name) const;
  const Json* list(const char* name) const;
  // Throws unless the field is missing or one of these values, which all mean that it does nothing.
  void only(const char* name, std::initializer_list<Json> allowed) const;

  [[noreturn]] void refuse(const char* name, const std::string& why) const;

 private:
  const Json& object_;
  std::string path_;
};

}  // namespace klens::apps
