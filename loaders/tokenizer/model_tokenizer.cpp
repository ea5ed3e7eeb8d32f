#include "loaders/tokenizer/model_tokenizer.h"

#include "base/error.h"
#include "loaders/checkpoint.h"

namespace klens {

ModelTokenizer read_tokenizer(const ModelTexts& texts, const std::string& path) {
  ModelTokenizer result{.tokenizer = std::nullopt, .problem = texts.tokenizer_problem};
  if (texts.tokenizer.empty()) return result;
  try {
    result.tokenizer = Tokenizer::from_json(texts.tokenizer, path + " (tokenizer.json)");
  } catch (const Error& failure) {
    if (failure.kind() != ErrorKind::kUnsupported && failure.kind() != ErrorKind::kBadFile) throw;
    result.problem = failure.what();
  }
  return result;
}

}  // namespace klens
