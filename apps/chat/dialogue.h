#pragma once
#include <string>

#include "apps/chat/conversation.h"
#include "apps/chat/line_reader.h"

namespace klens::apps {

struct DialogueOptions {
  bool json = false;   // answers are not printed as they come
  bool quiet = false;  // no notices
};

// What somebody who chats types, obeyed: messages and commands, which begin with a slash. Answers
// go to standard output, everything else to standard error.
class Dialogue {
 public:
  Dialogue(const klens_model* model, Conversation& conversation, const DialogueOptions& options)
      : model_(model), conversation_(conversation), options_(options) {}

  // Until the end of the input or /quit. Throws Error for a message that has no answer, where
  // nobody types.
  void run(LineReader& reader);
  // One message. Throws Error.
  void say(const std::string& message);
  void save(const std::string& path);
  void load(const std::string& path);
  bool command_failed() const { return failed_; }

 private:
  struct Command;
  static const Command kCommands[];

  void take(const std::string& text, LineReader& reader);
  void obey(const std::string& line, LineReader& reader);
  void help();
  void show_history() const;
  void set_system(const std::string& text);
  void edit(const std::string& text, LineReader& reader);
  void answer(const std::string& message, bool again);

  const klens_model* model_;
  Conversation& conversation_;
  const DialogueOptions options_;
  bool ended_ = false;
  bool failed_ = false;  // a command
  bool told_ = false;    // that the conversation is longer than what the model was trained on
};

}  // namespace klens::apps
