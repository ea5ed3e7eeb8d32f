#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "apps/cli/handles.h"

namespace klens::apps {

// How many of text's last bytes may be the beginning of `word`.
size_t begun(std::string_view text, std::string_view word);

// The text of an answer as it grows: whole characters, up to the first stop string.
class AnswerText {
 public:
  // before: what the answer goes on with, where it is one text with it; tokenizers treat the space
  // at a beginning apart. shown: special tokens that are part of the text, unlike the others.
  AnswerText(const klens_tokenizer* tokenizer, std::vector<std::string> stops,
             std::span<const int32_t> before, const std::vector<int32_t>& shown);

  // What can be shown now. What may turn out to be a stop string is held back.
  std::string push(int32_t id);
  std::string finish();
  bool stopped() const { return stopped_; }

 private:
  std::string released(bool all);

  const klens_tokenizer* tokenizer_;
  DecoderHandle decoder_;
  std::vector<std::string> stops_;
  std::vector<int32_t> shown_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace klens::apps
