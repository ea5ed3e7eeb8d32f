#pragma once
#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace klens {

// When a piece of work is given up. Patterns can take quadratic or exponential time on some texts;
// this turns a hang into an Error.
class Deadline {
 public:
  // Ten seconds, and ten more for every megabyte: hundreds of times what published patterns need.
  static Deadline for_bytes(size_t bytes);
  bool passed() const { return std::chrono::steady_clock::now() > end_; }

 private:
  std::chrono::steady_clock::time_point end_;
};

// A stretch of a text that a pattern matches, or one that lies between matches.
struct Match {
  size_t begin, end;
  bool is_match;
};

// What tokenizer.json calls a pattern: {"String": text} or {"Regex": pattern}. May be used from
// several threads at once.
class Pattern {
 public:
  // The text itself. An empty one matches between all characters.
  static Pattern text(std::string_view text);
  // `where` begins the message of the Error that a pattern with mistakes throws.
  static Pattern regex(std::string_view pattern, const std::string& where);

  Pattern(Pattern&&) noexcept;
  Pattern& operator=(Pattern&&) noexcept;
  ~Pattern();

  // Puts into `out` stretches that cover `subject` (valid UTF-8) from begin to end. Throws Error if
  // that takes too long.
  void find(std::string_view subject, const Deadline& deadline, std::vector<Match>& out) const;

 private:
  struct Compiled;
  Pattern();
  std::string text_;
  std::unique_ptr<Compiled> compiled_;  // none for a plain text
};

}  // namespace klens
