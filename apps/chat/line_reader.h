#pragma once
#include <memory>
#include <string>

namespace klens::apps {

// Reads what the user says: with line editing and history on a terminal, plain lines otherwise. A
// line that ends in a backslash goes on in the next; what is pasted into a terminal that marks
// pastes (bracketed paste, nearly all) stays together, line breaks and all. Text is UTF-8 whatever
// the locale.
class LineReader {
 public:
  enum class Result { kLine, kEnd, kInterrupted };

  LineReader();
  ~LineReader();
  LineReader(const LineReader&) = delete;
  LineReader& operator=(const LineReader&) = delete;

  // Somebody types.
  bool interactive() const { return interactive_; }
  // A line can be given to be edited.
  bool edits() const;
  // On kInterrupted (Ctrl-C on a terminal) what was typed is dropped. given: what stands in the
  // line already, to be edited; only where edits().
  Result read(std::string& text, const std::string& given = "");

 private:
  struct Editor;
  Result read_line(const wchar_t* prompt, std::string& line);

  const bool interactive_;
  std::unique_ptr<Editor> editor_;
};

}  // namespace klens::apps
