#include "loaders/chat_template/text.h"

#include <utf8proc.h>

#include <algorithm>
#include <utility>

#include "loaders/chat_template/failure.h"
#include "loaders/tokenizer/unicode.h"
#include "loaders/tokenizer/utf8.h"

namespace klens::jinja {
namespace {

char32_t to_upper(char32_t c) {
  return static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c)));
}

void append_upper(std::string& out, char32_t c) {
  // Letters and ligatures whose upper case is several.
  static constexpr std::pair<char32_t, const char*> kLonger[] = {
      {0xDF, "SS"},   {0x149, "\xca\xbcN"}, {0x1F0, "J\xcc\x8c"}, {0xFB00, "FF"}, {0xFB01, "FI"},
      {0xFB02, "FL"}, {0xFB03, "FFI"},      {0xFB04, "FFL"},      {0xFB05, "ST"}, {0xFB06, "ST"}};
  for (const auto& [letter, upper_case] : kLonger)
    if (c == letter) {
      out += upper_case;
      return;
    }
  utf8::append(out, to_upper(c));
}

void append_title(std::string& out, char32_t c) {
  const auto title = static_cast<char32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(c)));
  if (title != c) return utf8::append(out, title);
  std::string upper_case;
  append_upper(upper_case, c);
  // 'Ss', not 'SS'
  const size_t first = utf8::length_at(upper_case, 0);
  out.append(upper_case, 0, first).append(lower(std::string_view(upper_case).substr(first)));
}

bool is_cased(char32_t c) {
  const utf8proc_category_t category = utf8proc_category(static_cast<utf8proc_int32_t>(c));
  return category == UTF8PROC_CATEGORY_LU || category == UTF8PROC_CATEGORY_LL ||
         category == UTF8PROC_CATEGORY_LT;
}

}  // namespace

bool is_printable(char32_t c) {
  const char* category = utf8proc_category_string(static_cast<utf8proc_int32_t>(c));
  return c == ' ' || (category[0] != 'C' && category[0] != 'Z');
}

bool is_space(char32_t c) { return unicode::is_space(c) || (c >= 0x1C && c <= 0x1F); }

size_t leading_space(std::string_view text) {
  size_t at = 0;
  for (size_t next = 0; next < text.size() && is_space(utf8::next(text, next));) at = next;
  return at;
}

size_t trailing_space(std::string_view text) {
  size_t at = text.size();
  for (size_t before = at; before > 0 && is_space(utf8::previous(text, before));) at = before;
  return text.size() - at;
}

int64_t length(std::string_view text) {
  return std::count_if(text.begin(), text.end(),
                       [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
}

std::vector<std::string> characters(std::string_view text) {
  std::vector<std::string> out;
  for (size_t at = 0; at < text.size();) {
    const size_t size = utf8::length_at(text, at);
    out.emplace_back(text.substr(at, size));
    at += size;
  }
  return out;
}

std::string strip(std::string_view text, const std::string* strip_set, bool left, bool right) {
  const auto goes = [&](char32_t c) {
    return strip_set ? strip_set->find(utf8::encode(c)) != strip_set->npos : is_space(c);
  };
  size_t begin = 0, end = text.size();
  for (size_t next = 0; left && next < end && goes(utf8::next(text, next));) begin = next;
  for (size_t before = end; right && before > begin && goes(utf8::previous(text, before));)
    end = before;
  return std::string(text.substr(begin, end - begin));
}

std::string upper(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) append_upper(out, utf8::next(text, at));
  return out;
}

std::string lower(std::string_view text) {
  std::string out;
  bool in_word = false;
  for (size_t at = 0; at < text.size();) {
    const char32_t c = utf8::next(text, at);
    size_t behind = at;
    const bool ends =
        c == 0x3A3 && in_word && (at >= text.size() || !is_cased(utf8::next(text, behind)));
    if (ends) {
      utf8::append(out, 0x3C2);  // the sigma at the end of a word
    } else {
      unicode::append_lower(out, c);
    }
    in_word = is_cased(c);
  }
  return out;
}

std::string capitalized(std::string_view text) {
  if (text.empty()) return "";
  const size_t first = utf8::length_at(text, 0);
  std::string out;
  size_t at = 0;
  append_title(out, utf8::next(text, at));
  return out + lower(text.substr(first));
}

std::string titled(std::string_view text) {
  std::string out;
  bool in_word = false;
  for (size_t at = 0; at < text.size();) {
    const char32_t c = utf8::next(text, at);
    if (in_word) {
      unicode::append_lower(out, c);
    } else {
      append_title(out, c);
    }
    in_word = is_cased(c);
  }
  return out;
}

std::string replaced(std::string_view text, std::string_view from, std::string_view to,
                     int64_t most) {
  std::string out;
  size_t at = 0;
  for (; most != 0; --most) {
    if (from.empty()) {
      // Python finds the empty text before every character and at the end.
      out += to;
      if (at >= text.size()) return out;
      const size_t size = utf8::length_at(text, at);
      out += text.substr(at, size);
      at += size;
    } else {
      const size_t found = text.find(from, at);
      if (found == text.npos) break;
      out.append(text.substr(at, found - at)).append(to);
      at = found + from.size();
    }
    check_text_size(out.size());
  }
  return out.append(text.substr(at));
}

std::vector<std::string> split(std::string_view text, int64_t most, bool from_right) {
  std::vector<std::string> out;
  const auto word_length = [](std::string_view rest) {
    size_t at = 0;
    for (size_t next = 0; next < rest.size() && !is_space(utf8::next(rest, next));) at = next;
    return at;
  };
  const auto last_word_length = [](std::string_view rest) {
    size_t at = rest.size();
    for (size_t before = at; before > 0 && !is_space(utf8::previous(rest, before));) at = before;
    return rest.size() - at;
  };
  for (;; --most) {
    if (from_right) {
      text.remove_suffix(trailing_space(text));
    } else {
      text.remove_prefix(leading_space(text));
    }
    if (text.empty()) break;
    if (most == 0) {
      out.emplace_back(text);
      break;
    }
    const size_t size = from_right ? last_word_length(text) : word_length(text);
    out.emplace_back(from_right ? text.substr(text.size() - size) : text.substr(0, size));
    if (from_right) {
      text.remove_suffix(size);
    } else {
      text.remove_prefix(size);
    }
  }
  if (from_right) std::reverse(out.begin(), out.end());
  return out;
}

std::vector<std::string> split_at(std::string_view text, std::string_view separator, int64_t most,
                                  bool from_right) {
  if (separator.empty()) fail("empty separator");
  std::vector<std::string> out;
  for (; most != 0; --most) {
    const size_t found = from_right ? text.rfind(separator) : text.find(separator);
    if (found == text.npos) break;
    out.emplace_back(from_right ? text.substr(found + separator.size()) : text.substr(0, found));
    text = from_right ? text.substr(0, found) : text.substr(found + separator.size());
  }
  out.emplace_back(text);
  if (from_right) std::reverse(out.begin(), out.end());
  return out;
}

std::vector<std::string> lines(std::string_view text, bool with_ends) {
  std::vector<std::string> out;
  size_t begin = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t end = at;
    const char32_t c = utf8::next(text, at);
    const bool line_end = (c >= 0xA && c <= 0xD) || (c >= 0x1C && c <= 0x1E) || c == 0x85 ||
                          c == 0x2028 || c == 0x2029;
    if (!line_end) continue;
    if (c == '\r' && at < text.size() && text[at] == '\n') ++at;
    out.emplace_back(text.substr(begin, (with_ends ? at : end) - begin));
    begin = at;
  }
  if (begin < text.size()) out.emplace_back(text.substr(begin));
  return out;
}

std::string padded_to(std::string_view text, int64_t width, const std::string& fill, char side) {
  constexpr int64_t kWidest = 1'000'000;
  if (width > kWidest) fail("a width of more than 1000000");
  const int64_t missing = width > 0 ? width - length(text) : 0;
  if (missing <= 0) return std::string(text);
  // As Python's center(): the odd one at the left if the width is odd.
  const int64_t left = side == '<'   ? 0
                       : side == '>' ? missing
                                     : missing / 2 + (missing & width & 1);
  std::string out;
  for (int64_t i = 0; i < left; ++i) out += fill;
  out += text;
  for (int64_t i = left; i < missing; ++i) out += fill;
  return out;
}

}  // namespace klens::jinja
