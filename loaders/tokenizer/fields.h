#pragma once
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>

namespace klens {

// The members of one JSON object, read by name and type. Whatever is missing, of another type or
// not asked for becomes an Error that begins with `where`.
class Fields {
 public:
  Fields(const nlohmann::json& object, std::string where);

  const std::string& where() const { return where_; }
  std::string type();  // the member "type"

  const nlohmann::json* find(const std::string& key);  // none if missing or null
  const nlohmann::json& need(const std::string& key);
  bool flag(const std::string& key, std::optional<bool> otherwise = {});
  std::string text(const std::string& key, std::optional<std::string> otherwise = {});
  int64_t count(const std::string& key, std::optional<int64_t> otherwise = {});  // >= 0
  const nlohmann::json& list(const std::string& key);
  char32_t character(const std::string& key);  // a text of one character

  // Members that may stand there and change no token.
  void skip(std::initializer_list<const char*> keys);
  // To be called last: refuses members that nothing asked for.
  void done() const;

  [[noreturn]] void bad(const std::string& what) const;
  // A type we do not know; `known` lists those we do.
  [[noreturn]] void unknown_type(const std::string& type, const std::string& known) const;

 private:
  const nlohmann::json& object_;
  std::string where_;
  std::set<std::string> asked_;
};

// A token id of a vocabulary; throws Error naming `token` unless it is an integer in 0 ..
// kMaxTokenId.
inline constexpr int64_t kMaxTokenId = 10'000'000;
int32_t token_id_of(const nlohmann::json& value, const std::string& where, std::string_view token);

}  // namespace klens
