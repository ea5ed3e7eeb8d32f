#pragma once
#include <array>
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "loaders/tokenizer/fields.h"
#include "loaders/tokenizer/merges.h"
#include "loaders/tokenizer/vocabulary.h"

namespace klens {

// A model of type BPE (byte pair encoding): words to token ids.
class Bpe {
 public:
  // `model` is the member "model" of a tokenizer.json.
  Bpe(const nlohmann::json& model, const std::string& where);

  const Vocabulary& vocabulary() const { return *vocabulary_; }

  // Words met before in the same text, and their tokens. What the keys look into must stay in
  // place.
  class Cache {
    friend class Bpe;
    struct Entry {
      uint32_t begin, count;  // in ids
    };
    std::unordered_map<std::string_view, Entry> words;
    std::vector<int32_t> ids;
  };

  // Appends the tokens of `word` (valid UTF-8). Throws Error if it needs an unknown token that
  // there is not.
  void encode(std::string_view word, Cache& cache, std::vector<int32_t>& out) const;

 private:
  void read_merges(const nlohmann::json& merges, const std::string& where);
  void encode_part(std::string_view part, Cache& cache, std::vector<int32_t>& out) const;
  void merge_word(std::string_view word, std::vector<int32_t>& out) const;
  bool add_bytes(std::string_view piece, std::vector<Symbol>& symbols) const;
  std::optional<int32_t> character_id(std::string_view character) const;
  std::string where_;
  std::unique_ptr<Vocabulary> vocabulary_;
  std::unique_ptr<MergeTable> merges_;
  std::string unk_token_;
  bool has_unk_ = false;
  std::optional<int32_t> unk_id_;
  std::string prefix_, suffix_;  // continuing_subword_prefix, end_of_word_suffix
  bool fuse_unk_ = false, byte_fallback_ = false, ignore_merges_ = false;
  // Tokens "<0x00>" to "<0xFF>", -1 where missing.
  std::array<int32_t, 256> byte_ids_{};
  // Ids of the characters below U+0800, -1 where missing: those of byte-level words.
  std::array<int32_t, 0x800> low_ids_{};
  // Nothing merges across the begin of a run of U+2581, so words end there. Then the text of models
  // that do not split before is cut into parts that repeat and can be cached.
  bool parts_at_metaspace_ = false;
};

}  // namespace klens
