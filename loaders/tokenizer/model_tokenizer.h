#pragma once
#include <optional>
#include <string>

#include "loaders/tokenizer/tokenizer.h"

namespace klens {

struct ModelTexts;

// A model's tokenizer, or why it cannot be used; neither where the model came without one.
struct ModelTokenizer {
  std::optional<Tokenizer> tokenizer;
  std::string problem;
};

// `path` is the model's, for messages. One that is damaged, or that klens does not support, is no
// Error: the model runs on ids all the same.
ModelTokenizer read_tokenizer(const ModelTexts& texts, const std::string& path);

}  // namespace klens
