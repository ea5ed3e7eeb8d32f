#include "loaders/tokenizer/fields.h"

#include <utility>

#include "base/error.h"
#include "loaders/tokenizer/utf8.h"

namespace klens {

using nlohmann::json;

Fields::Fields(const json& object, std::string where) : object_(object), where_(std::move(where)) {
  if (!object.is_object()) bad(std::string("is ") + object.type_name() + ", not an object");
}

std::string Fields::type() { return text("type"); }

const json* Fields::find(const std::string& key) {
  asked_.insert(key);
  const auto it = object_.find(key);
  return it == object_.end() || it->is_null() ? nullptr : &*it;
}

const json& Fields::need(const std::string& key) {
  const json* value = find(key);
  if (!value) bad("has no \"" + key + "\"");
  return *value;
}

bool Fields::flag(const std::string& key, std::optional<bool> otherwise) {
  const json* value = otherwise ? find(key) : &need(key);
  if (!value) return *otherwise;
  if (!value->is_boolean()) bad("\"" + key + "\" is not true or false");
  return value->get<bool>();
}

std::string Fields::text(const std::string& key, std::optional<std::string> otherwise) {
  const json* value = otherwise ? find(key) : &need(key);
  if (!value) return *otherwise;
  if (!value->is_string()) bad("\"" + key + "\" is not a text");
  return value->get<std::string>();
}

int64_t Fields::count(const std::string& key, std::optional<int64_t> otherwise) {
  const json* value = otherwise ? find(key) : &need(key);
  if (!value) return *otherwise;
  // A number above int64_t's range is kept unsigned by the parser and would turn negative.
  if (!value->is_number_integer() || value->get<int64_t>() < 0)
    bad("\"" + key + "\" is not a count");
  return value->get<int64_t>();
}

const json& Fields::list(const std::string& key) {
  const json& value = need(key);
  if (!value.is_array()) bad("\"" + key + "\" is not a list");
  return value;
}

char32_t Fields::character(const std::string& key) {
  const std::string value = text(key);
  size_t at = 0;
  const char32_t c = value.empty() ? 0 : utf8::next(value, at);
  if (value.empty() || at != value.size()) bad("\"" + key + "\" is not one character");
  return c;
}

void Fields::skip(std::initializer_list<const char*> keys) {
  for (const char* key : keys) asked_.insert(key);
}

void Fields::done() const {
  for (const auto& [key, value] : object_.items())
    if (!asked_.contains(key))
      bad("has a member \"" + key +
          "\" that klens does not know; remove it if it does not change how text is split, or use "
          "a newer "
          "klens");
}

void Fields::bad(const std::string& what) const {
  throw Error(ErrorKind::kBadFile, where_ + " " + what);
}

void Fields::unknown_type(const std::string& type, const std::string& known) const {
  throw Error(ErrorKind::kUnsupported,
              where_ + " is of type \"" + type + "\"; klens reads " + known +
                  ". Convert the tokenizer, or pass token ids instead of text");
}

int32_t token_id_of(const json& value, const std::string& where, std::string_view token) {
  const bool good =
      value.is_number_integer() && value.get<int64_t>() >= 0 && value.get<int64_t>() <= kMaxTokenId;
  if (!good)
    throw Error(ErrorKind::kBadFile, where + ": the id of token \"" + std::string(token) +
                                         "\" is not an integer from 0 to " +
                                         std::to_string(kMaxTokenId));
  return value.get<int32_t>();
}

}  // namespace klens
