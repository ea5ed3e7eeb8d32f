#pragma once
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace klens {

// The tokens of a model: text to id and back.
class Vocabulary {
 public:
  // `tokens` is an object from text to id. Throws Error for ids that are none and for ids given
  // twice.
  Vocabulary(const nlohmann::json& tokens, const std::string& where);
  Vocabulary(const Vocabulary&) = delete;
  Vocabulary& operator=(const Vocabulary&) = delete;

  int64_t size() const { return static_cast<int64_t>(sorted_.size()); }
  int32_t largest_id() const { return sorted_.empty() ? -1 : sorted_.back().id; }
  std::optional<int32_t> find(std::string_view text) const;
  const std::string* text(int32_t id) const;  // null if there is none

 private:
  struct Token {
    int32_t id;
    std::string text;
  };
  std::vector<Token> sorted_;                          // by id
  std::unordered_map<std::string_view, int32_t> ids_;  // looks into sorted_
};

}  // namespace klens
