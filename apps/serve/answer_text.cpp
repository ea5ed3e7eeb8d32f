#include "apps/serve/answer_text.h"

#include <algorithm>
#include <string_view>

namespace klens::apps {

size_t begun(std::string_view text, std::string_view word) {
  for (size_t length = std::min(text.size(), word.size() - 1); length > 0; --length)
    if (text.ends_with(word.substr(0, length))) return length;
  return 0;
}

AnswerText::AnswerText(const klens_tokenizer* tokenizer, std::vector<std::string> stops,
                       std::span<const int32_t> before, const std::vector<int32_t>& shown)
    : tokenizer_(tokenizer),
      decoder_(new_decoder(tokenizer, true)),
      stops_(std::move(stops)),
      shown_(shown) {
  constexpr size_t kEnough = 16;  // a character is at most four tokens
  for (const int32_t id : before.last(std::min(before.size(), kEnough)))
    apps::push(decoder_.get(), id);
}

std::string AnswerText::push(int32_t id) {
  if (std::find(shown_.begin(), shown_.end(), id) != shown_.end())
    held_ += apps::finish(decoder_.get()) + detokenize(tokenizer_, {id}, false);
  else
    held_ += apps::push(decoder_.get(), id);
  return released(false);
}

std::string AnswerText::finish() {
  held_ += apps::finish(decoder_.get());
  return released(true);
}

std::string AnswerText::released(bool all) {
  if (stopped_) return "";
  size_t end = std::string::npos, kept = 0;
  for (const std::string& stop : stops_) {
    end = std::min(end, held_.find(stop));
    kept = std::max(kept, begun(held_, stop));
  }
  stopped_ = end != std::string::npos;
  if (!stopped_) end = all ? held_.size() : held_.size() - kept;
  std::string text = held_.substr(0, end);
  held_.erase(0, end);
  return text;
}

}  // namespace klens::apps
