#pragma once
#include <string>

namespace klens::apps {

bool is_terminal(int fd);
// A terminal that knows escape sequences, as those that are not TERM=dumb do.
bool can_rewrite_lines(int fd);

// How output may be decorated. Plain unless it goes to a terminal; NO_COLOR and TERM=dumb are
// respected.
struct Style {
  bool colour = false;

  std::string bold(const std::string& text) const;
  std::string faint(const std::string& text) const;
  // Black on a colour of the 256.
  std::string on(int background, const std::string& text) const;
};

Style output_style();  // of standard output
Style error_style();   // of standard error

}  // namespace klens::apps
