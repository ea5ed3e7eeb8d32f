#pragma once
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "loaders/tokenizer/fields.h"
#include "loaders/tokenizer/regex.h"

namespace klens {

// Rewrites text before it is split. Const methods may be called from several threads at once.
class Normalizer {
 public:
  virtual ~Normalizer() = default;
  // `lead` as in Piece.
  virtual void apply(std::string& text, size_t& lead, const Deadline& deadline) const = 0;
};

// `value` is the member "normalizer" of a tokenizer.json; null gives none.
std::unique_ptr<Normalizer> read_normalizer(const nlohmann::json* value, const std::string& where);

// The member "pattern" of a Split or Replace: {"String": text} or {"Regex": pattern}.
Pattern read_pattern(Fields& fields);

// A text that is inserted into others, so its length is limited.
std::string read_insertion(Fields& fields, const std::string& key);

// `text` with every match of `pattern` replaced.
std::string replace_all(const Pattern& pattern, std::string_view text, std::string_view content,
                        size_t& lead, const Deadline& deadline);

}  // namespace klens
