#include "apps/chat/line_reader.h"

#include <histedit.h>
#include <unistd.h>

#include <clocale>
#include <cstdio>
#include <iostream>

#include "apps/terminal/interrupt.h"
#include "apps/terminal/style.h"

namespace klens::apps {

struct LineReader::Editor {
  EditLine* line = nullptr;
  History* history = nullptr;
  const char* prompt = "";

  // Everything the editor shows goes to standard error: standard output is the answers'.
  Editor() : line(el_init("klens", stdin, stderr, stderr)), history(history_init()) {
    if (line == nullptr || history == nullptr) return;
    HistEvent event;
    ::history(history, &event, H_SETSIZE, 1000);
    ::history(history, &event, H_SETUNIQUE, 1);
    el_set(line, EL_CLIENTDATA, this);
    el_set(line, EL_PROMPT, show_prompt);
    el_set(line, EL_EDITOR, "emacs");
    el_set(line, EL_HIST, ::history, history);
    el_set(line, EL_SIGNAL, 0);  // Ctrl-C is ours
    el_source(line, nullptr);    // the user's ~/.editrc
  }
  ~Editor() {
    if (line != nullptr) el_end(line);
    if (history != nullptr) history_end(history);
  }
  Editor(const Editor&) = delete;
  Editor& operator=(const Editor&) = delete;

  static char* show_prompt(EditLine* editor) {
    void* self = nullptr;
    el_get(editor, EL_CLIENTDATA, &self);
    return const_cast<char*>(static_cast<Editor*>(self)->prompt);
  }
};

LineReader::LineReader() {
  if (!is_terminal(STDIN_FILENO)) return;
  std::setlocale(LC_CTYPE, "");  // libedit reads bytes as this locale's characters
  editor_ = std::make_unique<Editor>();
  if (editor_->line == nullptr || editor_->history == nullptr) editor_.reset();
}

LineReader::~LineReader() = default;

LineReader::Result LineReader::read_line(const char* prompt, std::string& line) {
  if (editor_ == nullptr) return std::getline(std::cin, line) ? Result::kLine : Result::kEnd;
  const InterruptScope interrupts;
  editor_->prompt = prompt;
  int count = 0;
  const char* text = el_gets(editor_->line, &count);
  if (interrupted()) {
    std::fputs("\n", stderr);
    return Result::kInterrupted;
  }
  if (text == nullptr || count <= 0) {
    std::fputs("\n", stderr);
    return Result::kEnd;
  }
  line.assign(text, static_cast<size_t>(count));
  while (!line.empty() && (line.back() == '\n' || line.back() == '\r')) line.pop_back();
  HistEvent event;
  if (!line.empty()) history(editor_->history, &event, H_ENTER, line.c_str());
  return Result::kLine;
}

LineReader::Result LineReader::read(std::string& text) {
  text.clear();
  const char* prompt = "> ";
  for (;;) {
    std::string line;
    const Result result = read_line(prompt, line);
    if (result == Result::kEnd && !text.empty()) return Result::kLine;
    if (result != Result::kLine) return result;
    if (!line.ends_with('\\')) {
      text += line;
      return result;
    }
    line.back() = '\n';
    text += line;
    prompt = ". ";
  }
}

}  // namespace klens::apps
