#pragma once
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "loaders/tokenizer/pieces.h"

namespace klens {

// Splits the pieces of a text into words, and may rewrite them. Pieces that are tokens already stay
// as they are. Const methods may be called from several threads at once.
class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  virtual void apply(Pieces& pieces) const = 0;
};

// `value` is the member "pre_tokenizer" of a tokenizer.json; null gives none.
std::unique_ptr<PreTokenizer> read_pre_tokenizer(const nlohmann::json* value,
                                                 const std::string& where);

}  // namespace klens
