#include "loaders/tokenizer/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <iterator>
#include <vector>

#include "loaders/tokenizer/unicode_tables.h"
#include "loaders/tokenizer/utf8.h"

namespace klens::unicode {
namespace {

// The row of a sorted table that holds c, or none.
template <typename Row, size_t kRows>
const Row* find_row(const Row (&table)[kRows], char32_t c) {
  const Row* row = std::lower_bound(std::begin(table), std::end(table), c,
                                    [](const Row& r, char32_t key) { return r.last < key; });
  return row != std::end(table) && row->first <= c ? row : nullptr;
}

std::string_view category(char32_t c) {
  if (c >= 0x80)
    if (const CategoryRange* row = find_row(kNewCategories, c)) return {row->category, 2};
  return utf8proc_category_string(static_cast<utf8proc_int32_t>(c));
}

int combining_class(char32_t c) {
  return utf8proc_get_property(static_cast<utf8proc_int32_t>(c))->combining_class;
}

// Decomposes, orders and, if asked, composes one stretch of text that begins and ends with starters
// that combine with nothing outside of it.
void normalize_stretch(std::vector<utf8proc_int32_t>& characters, bool compat, bool compose,
                       std::vector<utf8proc_int32_t>& work, std::string& out) {
  constexpr size_t kLongest = 32;  // the longest decomposition of one character is 18
  const auto options = static_cast<utf8proc_option_t>(
      UTF8PROC_STABLE | (compose ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE) |
      (compat ? UTF8PROC_COMPAT : 0));
  work.clear();
  for (const utf8proc_int32_t c : characters) {
    utf8proc_int32_t parts[kLongest];
    int boundary_class = 0;
    const utf8proc_ssize_t count =
        utf8proc_decompose_char(c, parts, kLongest, options, &boundary_class);
    work.insert(work.end(), parts, parts + std::clamp<utf8proc_ssize_t>(count, 0, kLongest));
  }
  // utf8proc_decompose() would order marks by exchanging neighbours, which takes quadratic time.
  for (auto i = work.begin(); i != work.end();) {
    const auto is_mark = [](utf8proc_int32_t c) {
      return combining_class(static_cast<char32_t>(c)) != 0;
    };
    i = std::find_if(i, work.end(), is_mark);
    const auto end = std::find_if_not(i, work.end(), is_mark);
    std::stable_sort(i, end, [](utf8proc_int32_t a, utf8proc_int32_t b) {
      return combining_class(static_cast<char32_t>(a)) < combining_class(static_cast<char32_t>(b));
    });
    i = end;
  }
  auto length = static_cast<utf8proc_ssize_t>(work.size());
  if (compose && length > 0) length = utf8proc_normalize_utf32(work.data(), length, options);
  for (utf8proc_ssize_t i = 0; i < length; ++i)
    utf8::append(out, static_cast<char32_t>(work[static_cast<size_t>(i)]));
  characters.clear();
}

}  // namespace

bool is_space(char32_t c) {
  return (c >= 9 && c <= 13) || c == ' ' || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

bool is_numeric(char32_t c) {
  if (c < 0x80) return c >= '0' && c <= '9';
  // Digits of Unicode 17, which the patterns' tables do not have.
  if ((c >= 0x11DE0 && c <= 0x11DE9) || (c >= 0x16FF4 && c <= 0x16FF6)) return true;
  return category(c)[0] == 'N';
}

bool is_word(char32_t c) {
  if (c < 0x80)
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
  // Join_Control, and the circled letters, which are Alphabetic though symbols.
  if (c == 0x200C || c == 0x200D || (c >= 0x24B6 && c <= 0x24E9) ||
      (c >= 0x1F130 && c <= 0x1F149) || (c >= 0x1F150 && c <= 0x1F169) ||
      (c >= 0x1F170 && c <= 0x1F189))
    return true;
  const std::string_view k = category(c);
  return k[0] == 'L' || k[0] == 'M' || k == "Nd" || k == "Nl" || k == "Pc";
}

bool is_punctuation(char32_t c) {
  if (c < 0x80)
    return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') ||
           (c >= '{' && c <= '~');
  if (c == 0x166D || c == 0x111C9) return true;  // were punctuation in Unicode 8
  return category(c)[0] == 'P' && find_row(kNotPunctuation, c) == nullptr;
}

void append_lower(std::string& out, char32_t c) {
  if (c == 0x130) {
    out += "i\u0307";
  } else if (const LowerRange* row = find_row(kNewLower, c)) {
    utf8::append(out, static_cast<char32_t>(static_cast<int32_t>(c) + row->distance));
  } else {
    utf8::append(out, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))));
  }
}

std::string normalize(std::string_view text, Form form) {
  const bool compat = form == Form::kNfkc || form == Form::kNfkd;
  const bool compose = form == Form::kNfc || form == Form::kNfkc;
  std::string out;
  out.reserve(text.size());
  std::vector<utf8proc_int32_t> stretch, work;
  for (size_t at = 0; at < text.size();) {
    const size_t begin = at;
    const char32_t c = utf8::next(text, at);
    const bool inert = c >= 0x80 && find_row(kNotNormalized, c) != nullptr;
    // ASCII never changes and combines only with what follows it.
    if (c < 0x80 || inert) {
      normalize_stretch(stretch, compat, compose, work, out);
      if (inert || at == text.size() || static_cast<unsigned char>(text[at]) < 0x80) {
        out.append(text, begin, at - begin);
        continue;
      }
    }
    stretch.push_back(static_cast<utf8proc_int32_t>(c));
  }
  normalize_stretch(stretch, compat, compose, work, out);
  return out;
}

bool has_new_characters(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    if (static_cast<unsigned char>(text[at]) < 0xCC) {  // below U+0300: nothing new
      at += utf8::length_at(text, at);
      continue;
    }
    const char32_t c = utf8::next(text, at);
    // U+180E was white space until Unicode 6.3 and still is for PCRE2.
    if (c == 0x180E || find_row(kNewCategories, c) || find_row(kNewAlphabetic, c)) return true;
  }
  return false;
}

}  // namespace klens::unicode
