#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "apps/serve/tools.h"
#include "klens/klens.hpp"

namespace klens::apps {

// What an answer's text is made of.
struct AnswerParts {
  std::string reasoning, content;
  std::vector<ToolCall> calls;
};

// Takes the text of a chat's answer apart as it comes: thoughts (<think> ... </think>), what is
// said, and calls of tools. What is no whole call in the end is something that was said.
class AnswerParser {
 public:
  // thinking: the prompt ends within thoughts, as end_of_thoughts() says. tools: those that may be
  // called, none: calls are text. Borrowed.
  AnswerParser(bool thinking, const Tools* tools);

  AnswerParts push(std::string_view text);
  AnswerParts finish();
  bool called() const { return called_; }

 private:
  enum class State { kBeginning, kThinking, kSaying, kCalling };
  AnswerParts advance(bool all);
  // Each returns whether there is more to do at once.
  bool begin(bool all);
  bool think(bool all, AnswerParts& parts);
  bool say(bool all, AnswerParts& parts);
  bool call(bool all, AnswerParts& parts);
  void say_text(std::string text, AnswerParts& parts);
  void made(std::vector<ToolCall> calls, AnswerParts& parts);

  const Tools* tools_;
  State state_;
  std::string text_;                  // not told yet
  std::string_view close_;            // of thoughts
  std::string space_;                 // before the call that is read
  const ToolStyle* style_ = nullptr;  // of the call that is read
  size_t searched_ = 0;               // of it, how far for its end
  bool trims_ = false;                // space at the beginning of what comes is none
  bool said_ = false, called_ = false;
};

// What ends the thoughts that a prompt's answer begins with, where the prompt begins them; else "".
std::string end_of_thoughts(std::string_view prompt);

// Special tokens that mean something to the parser and that a decoder would leave out.
std::vector<int32_t> special_markers(const klens_tokenizer* tokenizer);

}  // namespace klens::apps
