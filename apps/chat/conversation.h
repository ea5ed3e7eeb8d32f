#pragma once
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "apps/cli/handles.h"
#include "apps/generation.h"

namespace klens::apps {

struct ChatOptions {
  klens_sampler_options sampler{};
  klens_session_options session{};
  std::string system;
  std::vector<std::string> stops;          // texts that an answer ends before
  std::string model_path;                  // which /save must not write over
  int64_t answer_tokens = 0;               // at most; 0: messages are only read
  int64_t context_tokens = 0;              // at most; 0: no limit
  const klens_grammar* grammar = nullptr;  // that each answer keeps to; null: none
  int64_t drafts = 0;
  bool ignore_end = false;
  bool quiet = false;          // no progress of prompts
  bool shows_answers = false;  // on_text shows the answer: no progress of it
};

// Messages and the session that has read them. With a chat template the prompt is rendered anew
// each turn and only what extends the tokens already fed is fed; without one, the turns are one
// running text.
class Conversation {
 public:
  Conversation(klens_model* model, const klens_tokenizer* tokenizer, const ChatOptions& options);

  // Adds the user's message and the model's, which on_text sees piece by piece. Returns what cut
  // the answer short, "-n 256" or "--ctx 4096", or "". Under an InterruptScope.
  std::string answer(const std::string& message,
                     const std::function<void(std::string_view)>& on_text);
  // The last message that was answered; "" where there is none.
  std::string last_message() const;
  // Answers this in place of the last message, whose answer is forgotten; another seed is used, so
  // that the same message gets another answer.
  std::string answer_again(const std::string& message,
                           const std::function<void(std::string_view)>& on_text);
  void reset();
  // The system message, "" for none: of what is said already too, where there is a chat template.
  void set_system(const std::string& text);
  // The session at path, the messages beside it at path.json.
  void save(const std::string& path) const;
  void load(const std::string& path);

  bool has_template() const { return has_template_; }
  int64_t tokens() const { return static_cast<int64_t>(context_.size()); }
  const nlohmann::ordered_json& messages() const { return messages_; }
  std::string stats() const;

 private:
  // settled: how many of the ids the next turns' prompts will begin with too, whatever the template
  // makes of the answer: those before what it adds for an answer to follow. 0 where not known.
  struct Prompt {
    std::vector<int32_t> ids;
    size_t settled = 0;
  };
  Prompt next_prompt(size_t begun, const std::string& message) const;
  std::vector<int32_t> rendered(const nlohmann::ordered_json& messages, bool for_answer) const;
  // Feeds the context up to there, as far as it is not interrupted, and leaves a checkpoint.
  void feed_until(size_t end);
  nlohmann::ordered_json opening() const;
  // Back to where this prompt agrees with what the session has read.
  void go_back_to(const std::vector<int32_t>& prompt);
  // One that has seen what the session has read.
  void renew_sampler(uint64_t seed);
  // answer(), where `begun` tokens of a running text come before the message.
  std::string answer_after(size_t begun, const std::string& message,
                           const std::function<void(std::string_view)>& on_text, bool again);

  klens_model* model_;
  const klens_tokenizer* tokenizer_;
  ChatOptions options_;
  bool has_template_;
  SessionHandle session_;
  SamplerHandle sampler_;
  nlohmann::ordered_json messages_;
  std::vector<int32_t> context_;      // the conversation as tokens
  size_t fed_ = 0;                    // how many of them the session has read
  std::optional<size_t> turn_begin_;  // where the last turn begins in it; absent: not known
  uint64_t again_ = 0;                // how often an answer was asked for again
  Speed prefill_;                     // of the last answer
  Continuation made_;                 // that answer
};

}  // namespace klens::apps
