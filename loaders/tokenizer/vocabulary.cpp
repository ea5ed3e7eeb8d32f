#include "loaders/tokenizer/vocabulary.h"

#include <algorithm>

#include "base/error.h"
#include "loaders/tokenizer/fields.h"

namespace klens {

Vocabulary::Vocabulary(const nlohmann::json& tokens, const std::string& where) {
  if (!tokens.is_object()) throw Error(ErrorKind::kBadFile, where + " is not an object");
  sorted_.reserve(tokens.size());
  for (const auto& [text, id] : tokens.items())
    sorted_.push_back({token_id_of(id, where, text), text});
  std::sort(sorted_.begin(), sorted_.end(),
            [](const Token& a, const Token& b) { return a.id < b.id; });
  ids_.reserve(sorted_.size());
  for (size_t i = 0; i < sorted_.size(); ++i) {
    if (i > 0 && sorted_[i].id == sorted_[i - 1].id)
      throw Error(ErrorKind::kBadFile, where + ": \"" + sorted_[i - 1].text + "\" and \"" +
                                           sorted_[i].text + "\" have the same id " +
                                           std::to_string(sorted_[i].id));
    ids_.emplace(sorted_[i].text, sorted_[i].id);
  }
}

std::optional<int32_t> Vocabulary::find(std::string_view text) const {
  const auto it = ids_.find(text);
  if (it == ids_.end()) return std::nullopt;
  return it->second;
}

const std::string* Vocabulary::text(int32_t id) const {
  if (id < 0 || sorted_.empty()) return nullptr;
  // Ids without holes are their own index.
  const auto index = static_cast<size_t>(id);
  if (index < sorted_.size() && sorted_[index].id == id) return &sorted_[index].text;
  const auto it = std::lower_bound(sorted_.begin(), sorted_.end(), id,
                                   [](const Token& t, int32_t key) { return t.id < key; });
  return it != sorted_.end() && it->id == id ? &it->text : nullptr;
}

}  // namespace klens
