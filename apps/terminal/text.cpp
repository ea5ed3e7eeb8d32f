#include "apps/terminal/text.h"

#include <utf8proc.h>

#include <algorithm>

namespace klens::apps {
namespace {

constexpr char32_t kReplacement = 0xfffd;

// The escape sequence that text begins with ("\033[" to its final byte), or "".
std::string_view escape_sequence(std::string_view text) {
  if (!text.starts_with("\033[")) return {};
  size_t end = 2;
  while (end < text.size() && (text[end] < 0x40 || text[end] > 0x7e)) ++end;
  return text.substr(0, std::min(end + 1, text.size()));
}

bool is_control(char32_t c) { return c < 0x20 || (c >= 0x7f && c < 0xa0); }

size_t width_of(char32_t c) {
  if (is_control(c)) return 1;
  return static_cast<size_t>(utf8proc_charwidth(static_cast<utf8proc_int32_t>(c)));
}

}  // namespace

char32_t next_character(std::string_view& text) {
  utf8proc_int32_t c = 0;
  const auto length = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                       static_cast<utf8proc_ssize_t>(text.size()), &c);
  text.remove_prefix(length > 0 ? static_cast<size_t>(length) : 1);
  return length > 0 ? static_cast<char32_t>(c) : kReplacement;
}

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    utf8proc_int32_t c = 0;
    const auto length = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                         static_cast<utf8proc_ssize_t>(text.size()), &c);
    if (length <= 0) return false;
    text.remove_prefix(static_cast<size_t>(length));
  }
  return true;
}

void append_utf8(std::string& text, char32_t c) {
  const auto code = static_cast<utf8proc_int32_t>(c);
  utf8proc_uint8_t bytes[4];
  const auto length = utf8proc_encode_char(
      utf8proc_codepoint_valid(code) ? code : static_cast<utf8proc_int32_t>(kReplacement), bytes);
  text.append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(length));
}

size_t columns_of(std::string_view text) {
  size_t columns = 0;
  while (!text.empty()) {
    const std::string_view escape = escape_sequence(text);
    if (escape.empty())
      columns += width_of(next_character(text));
    else
      text.remove_prefix(escape.size());
  }
  return columns;
}

std::string cut_to_columns(std::string_view text, size_t columns) {
  std::string out;
  bool full = false;
  while (!text.empty()) {
    const std::string_view escape = escape_sequence(text);
    if (!escape.empty()) {
      out += escape;
      text.remove_prefix(escape.size());
      continue;
    }
    char32_t c = next_character(text);
    if (is_control(c)) c = ' ';
    const size_t width = width_of(c);
    full = full || width > columns;
    if (full) continue;
    append_utf8(out, c);
    columns -= width;
  }
  return out;
}

}  // namespace klens::apps
