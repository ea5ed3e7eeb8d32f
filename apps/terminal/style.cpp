#include "apps/terminal/style.h"

#include <unistd.h>

#include <cstdlib>
#include <cstring>

namespace klens::apps {
namespace {

Style style_of(int fd) {
  const char* no_color = std::getenv("NO_COLOR");
  if (no_color != nullptr && no_color[0] != '\0') return {};
  return {can_rewrite_lines(fd)};
}

}  // namespace

bool is_terminal(int fd) { return ::isatty(fd) == 1; }

bool can_rewrite_lines(int fd) {
  const char* term = std::getenv("TERM");
  return is_terminal(fd) && term != nullptr && term[0] != '\0' && std::strcmp(term, "dumb") != 0;
}

std::string Style::bold(const std::string& text) const {
  return colour ? "\033[1m" + text + "\033[0m" : text;
}

std::string Style::faint(const std::string& text) const {
  return colour ? "\033[2m" + text + "\033[0m" : text;
}

std::string Style::on(int background, const std::string& text) const {
  return colour ? "\033[30;48;5;" + std::to_string(background) + "m" + text + "\033[0m" : text;
}

Style output_style() { return style_of(STDOUT_FILENO); }
Style error_style() { return style_of(STDERR_FILENO); }

}  // namespace klens::apps
