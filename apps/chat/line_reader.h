#pragma once
#include <memory>
#include <string>

namespace klens::apps {

// Reads what the user says: with line editing and history on a terminal, plain lines otherwise. A
// line that ends in a backslash goes on in the next.
class LineReader {
 public:
  enum class Result { kLine, kEnd, kInterrupted };

  LineReader();
  ~LineReader();
  LineReader(const LineReader&) = delete;
  LineReader& operator=(const LineReader&) = delete;

  bool interactive() const { return editor_ != nullptr; }
  // On kInterrupted (Ctrl-C on a terminal) what was typed is dropped.
  Result read(std::string& text);

 private:
  struct Editor;
  Result read_line(const char* prompt, std::string& line);

  std::unique_ptr<Editor> editor_;
};

}  // namespace klens::apps
