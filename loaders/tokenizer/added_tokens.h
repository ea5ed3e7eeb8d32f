#pragma once
#include <bitset>
#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "loaders/tokenizer/normalizer.h"
#include "loaders/tokenizer/pieces.h"

namespace klens {

// A token that stands beside the model's vocabulary and is found in the text before the model sees
// it.
struct AddedToken {
  int32_t id;
  std::string content;
  std::string spelled;  // content after the normalizer if `normalized`, else content
  bool single_word, lstrip, rstrip, normalized, special;
};

// The added tokens of a tokenizer. As in the package their ids are not those in the file: a token
// that the model has keeps the model's id, others are numbered on from the model's vocabulary in
// the file's order.
class AddedTokens {
 public:
  // `value` is the member "added_tokens"; null means none. `normalizer` may be null.
  AddedTokens(const nlohmann::json* value, const std::string& where, const Normalizer* normalizer,
              const std::function<std::optional<int32_t>(std::string_view)>& model_id,
              int64_t model_size);

  // The pieces of `text` (which must outlive `pieces`): tokens with normalized = false are looked
  // for in it as it is, the others in what the normalizer makes of the rest.
  void extract(std::string_view text, const Normalizer* normalizer, Pieces& pieces) const;

  const AddedToken* find(int32_t id) const;
  std::optional<int32_t> id_of(std::string_view content) const;
  bool is_special(std::string_view content) const;
  int32_t largest_id() const { return largest_id_; }  // -1 if there is none

 private:
  // Finds the tokens of one kind: leftmost first, and of those the longest.
  struct Finder {
    struct Entry {
      std::string text;
      int32_t id;
    };
    std::vector<Entry> sorted;
    std::bitset<256> first_bytes;

    void build(const std::string& where);
    const Entry* longest_at(std::string_view text, size_t at) const;
  };

  void split(const Finder& finder, const Piece& piece, std::vector<Piece>& out) const;

  std::unordered_map<int32_t, AddedToken> by_id_;
  std::unordered_map<std::string, int32_t> ids_;
  std::unordered_set<std::string> special_;
  int32_t largest_id_ = -1;
  Finder raw_, normalized_;
};

}  // namespace klens
