#include "apps/chat/dialogue.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

#include "apps/cli/common.h"
#include "apps/cli/error.h"
#include "apps/cli/files.h"
#include "apps/cli/output.h"
#include "apps/terminal/interrupt.h"
#include "apps/terminal/progress.h"
#include "apps/terminal/style.h"

namespace klens::apps {
namespace {

// A notice on standard error, fainter than what is said where a terminal can show it.
void notice(const std::string& text) {
  std::fputs((error_style().faint(text) + "\n").c_str(), stderr);
}

// "/save FILE" as {"/save", "FILE"}, without the spaces around FILE.
std::pair<std::string, std::string> name_and_rest(const std::string& line) {
  const size_t space = std::min(line.find(' '), line.size());
  const size_t begin = line.find_first_not_of(' ', space);
  if (begin == std::string::npos) return {line.substr(0, space), ""};
  return {line.substr(0, space), line.substr(begin, line.find_last_not_of(' ') + 1 - begin)};
}

// One line that begins with a slash is a command, unless it begins with two.
bool is_command(const std::string& text) {
  return text.starts_with('/') && !text.starts_with("//") && text.find('\n') == std::string::npos;
}

}  // namespace

struct Dialogue::Command {
  const char* name;
  const char* argument;  // "": it takes none; in brackets: it may be left out
  const char* about;
  void (*run)(Dialogue&, const std::string& argument, LineReader&);
};

const Dialogue::Command Dialogue::kCommands[] = {
    {"/regenerate", "", "another answer to the last message",
     [](Dialogue& d, const std::string&, LineReader&) {
       d.answer(d.conversation_.last_message(), true);
     }},
    {"/edit", "[TEXT]", "TEXT in place of the last message; edit it where none is given",
     [](Dialogue& d, const std::string& text, LineReader& reader) { d.edit(text, reader); }},
    {"/history", "", "what was said",
     [](Dialogue& d, const std::string&, LineReader&) { d.show_history(); }},
    {"/system", "[TEXT]", "TEXT as the system message from now on; none where it is left out",
     [](Dialogue& d, const std::string& text, LineReader&) { d.set_system(text); }},
    {"/reset", "", "forget the conversation",
     [](Dialogue& d, const std::string&, LineReader&) {
       d.conversation_.reset();
       d.told_ = false;
       notice("the conversation starts anew");
     }},
    {"/save", "FILE", "keep it in FILE and FILE.json",
     [](Dialogue& d, const std::string& file, LineReader&) { d.save(expand_home(file)); }},
    {"/load", "FILE", "go on with a kept one",
     [](Dialogue& d, const std::string& file, LineReader&) { d.load(expand_home(file)); }},
    {"/stats", "", "tokens, memory and speed",
     [](Dialogue& d, const std::string&, LineReader&) { notice(d.conversation_.stats()); }},
    {"/help", "", "this list", [](Dialogue& d, const std::string&, LineReader&) { d.help(); }},
    {"/quit", "", "leave (or Ctrl-D)",
     [](Dialogue& d, const std::string&, LineReader&) { d.ended_ = true; }},
    {"/exit", "", "the same",
     [](Dialogue& d, const std::string&, LineReader&) { d.ended_ = true; }},
};

void Dialogue::run(LineReader& reader) {
  for (std::string text; !ended_;) {
    const LineReader::Result result = reader.read(text);
    if (result == LineReader::Result::kEnd) return;
    if (result == LineReader::Result::kInterrupted) {
      notice("(Ctrl-D or /quit leaves)");
      continue;
    }
    if (!text.empty()) take(text, reader);
  }
}

// A mistake must not end a conversation; a script whose message has no answer must not go on as if
// it had.
void Dialogue::take(const std::string& text, LineReader& reader) {
  const InterruptScope interrupts;
  const bool command = is_command(text);
  try {
    command ? obey(text, reader) : answer(text.substr(text.starts_with("//") ? 1 : 0), false);
  } catch (const std::runtime_error& e) {
    if ((!command && !reader.interactive()) || std::ferror(stdout) != 0) throw Error(e.what());
    std::fputs((std::string("klens: ") + e.what() + "\n").c_str(), stderr);
    failed_ = failed_ || command;
  }
}

void Dialogue::obey(const std::string& line, LineReader& reader) {
  const auto [name, argument] = name_and_rest(line);
  for (const Command& command : kCommands) {
    if (name != command.name) continue;
    const bool takes = command.argument[0] != '\0', needs = takes && command.argument[0] != '[';
    if (needs && argument.empty())
      notice(name + " needs a file name");
    else if (!takes && !argument.empty())
      notice(name + " takes nothing behind it");
    else
      command.run(*this, argument, reader);
    return;
  }
  notice("there is no " + name +
         "; /help lists what there is; a message that begins with / is written with //");
}

void Dialogue::help() {
  std::string text;
  for (const Command& command : kCommands)
    text += formatted("%-16s %s\n", (std::string(command.name) + " " + command.argument).c_str(),
                      command.about);
  text +=
      "//text           a message that begins with /; so does any of several lines\n"
      "Ctrl-C stops an answer; a line that ends in \\ goes on in the next; what is pasted\n"
      "stays one message.\n";
  std::fputs(text.c_str(), stderr);
}

void Dialogue::show_history() const {
  const Style style = error_style();
  for (const nlohmann::ordered_json& message : conversation_.messages())
    std::fputs((style.bold(message["role"].get<std::string>() + ":") + " " +
                message["content"].get<std::string>() + "\n")
                   .c_str(),
               stderr);
  if (conversation_.messages().empty()) notice("nothing was said yet");
}

void Dialogue::set_system(const std::string& text) {
  conversation_.set_system(text);
  notice(text.empty() ? "there is no system message" : "the system message is set");
}

void Dialogue::edit(const std::string& text, LineReader& reader) {
  const std::string last = conversation_.last_message();
  if (last.empty()) throw Error("there is no answered message yet");
  std::string edited = text;
  if (edited.empty() && !reader.edits()) throw Error("/edit needs the new text here");
  if (edited.empty() && reader.read(edited, last) != LineReader::Result::kLine) return;
  if (!edited.empty()) answer(edited, true);
}

void Dialogue::save(const std::string& path) {
  {
    const StatusLine status(options_.quiet, "saving");
    conversation_.save(path);
  }
  notice("saved");
}

void Dialogue::load(const std::string& path) {
  {
    const StatusLine status(options_.quiet, "loading");
    conversation_.load(path);
  }
  told_ = false;
  notice(formatted("loaded, %zu messages", conversation_.messages().size()));
}

void Dialogue::say(const std::string& message) {
  const InterruptScope interrupts;
  answer(message, false);
}

void Dialogue::answer(const std::string& message, bool again) {
  const auto on_text = [&](std::string_view text) {
    if (options_.json) return;
    print(text);
    flush_output();
  };
  const std::string cut =
      again ? conversation_.answer_again(message, on_text) : conversation_.answer(message, on_text);
  on_text("\n");
  if (options_.quiet) return;
  if (!cut.empty()) notice("klens: the answer was cut short by " + cut + " (tokens)");
  const int64_t trained = klens_model_context_length(model_);
  if (told_ || trained == 0 || conversation_.tokens() <= trained) return;
  told_ = true;
  warn_beyond_context(model_, conversation_.tokens(), "a conversation", false);
}

}  // namespace klens::apps
