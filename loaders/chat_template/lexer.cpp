#include "loaders/chat_template/lexer.h"

#include <algorithm>
#include <cctype>

#include "loaders/chat_template/failure.h"
#include "loaders/chat_template/text.h"
#include "loaders/tokenizer/utf8.h"

namespace klens::jinja {
namespace {

// As Jinja does before anything else: one kind of line end, and no line end at the end.
std::string normalized_lines(std::string_view source) {
  std::string out;
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      out += source[i];
    } else {
      out += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    }
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(normalized_lines(source)), in_(source_) {}

  std::vector<Token> run() {
    try {
      while (at_ < in_.size()) text();
    } catch (Failure& failure) {
      if (failure.line == 0) failure.line = line_;
      throw;
    }
    add(Token::Kind::kEnd, "");
    return std::move(tokens_);
  }

 private:
  void add(Token::Kind kind, std::string text) {
    tokens_.push_back({kind, line_, std::move(text)});
  }
  bool starts(std::string_view s) const { return in_.substr(at_).starts_with(s); }

  void advance(size_t bytes) {
    line_ +=
        static_cast<int>(std::count(in_.begin() + static_cast<std::ptrdiff_t>(at_),
                                    in_.begin() + static_cast<std::ptrdiff_t>(at_ + bytes), '\n'));
    at_ += bytes;
    // lstrip_blocks may strip white space that follows a line end inside of a tag's end.
    if (bytes > 0) line_starting_ = in_[at_ - 1] == '\n';
  }

  void skip_space() { advance(leading_space(in_.substr(at_))); }

  // Text up to the next tag, and that tag.
  void text() {
    size_t open = at_;
    for (;; ++open) {
      open = in_.find('{', open);
      if (open == in_.npos || open + 1 >= in_.size()) open = in_.npos;
      if (open == in_.npos || std::string_view("{%#").find(in_[open + 1]) != std::string_view::npos)
        break;
    }
    if (open == in_.npos) {
      add(Token::Kind::kText, std::string(in_.substr(at_)));
      return advance(in_.size() - at_);
    }
    const char kind = in_[open + 1];
    const char sign = open + 2 < in_.size() ? in_[open + 2] : '\0';
    const std::string_view before = in_.substr(at_, open - at_);
    const size_t kept = kept_length(before, kind, sign);
    if (kept > 0) add(Token::Kind::kText, std::string(before.substr(0, kept)));
    advance(open - at_);
    advance(sign == '-' || (sign == '+' && kind != '{') ? 3 : 2);
    if (kind == '#') return comment();
    if (kind == '%' && raw()) return;
    add(kind == '{' ? Token::Kind::kOpenOutput : Token::Kind::kOpenBlock, "");
    tag(kind == '{' ? "}}" : "%}");
  }

  // How much of the text before a tag remains.
  size_t kept_length(std::string_view before, char kind, char sign) const {
    if (sign == '-') return before.size() - trailing_space(before);
    if (sign == '+' || kind == '{') return before.size();
    const size_t line_end = before.rfind('\n');
    if (line_end == before.npos && !line_starting_) return before.size();
    const size_t line_begin = line_end == before.npos ? 0 : line_end + 1;
    const std::string_view line = before.substr(line_begin);
    return leading_space(line) == line.size() ? line_begin : before.size();
  }

  // Behind a tag: at its closing mark, which is `close` with a sign before it or not.
  bool close_tag(std::string_view close, bool trims_line) {
    if (starts(std::string(1, '-').append(close))) {
      advance(1 + close.size());
      skip_space();
      return true;
    }
    if (trims_line && starts(std::string(1, '+').append(close))) {
      advance(1 + close.size());
      return true;
    }
    if (!starts(close)) return false;
    advance(close.size());
    if (trims_line && starts("\n")) advance(1);
    return true;
  }

  void comment() {
    const size_t end = in_.find("#}", at_);
    if (end == in_.npos) fail("a comment is not closed");
    const bool signed_end = end > at_ && (in_[end - 1] == '-' || in_[end - 1] == '+');
    advance(end - at_ - (signed_end ? 1 : 0));
    close_tag("#}", true);
  }

  // {% raw %}: text up to {% endraw %} as it stands.
  bool raw() {
    size_t i = at_ + leading_space(in_.substr(at_));
    if (!in_.substr(i).starts_with("raw")) return false;
    i += 3;
    i += leading_space(in_.substr(i));
    const bool minus = in_.substr(i).starts_with("-%}");
    if (!minus && !in_.substr(i).starts_with("%}")) return false;
    advance(i + (minus ? 3 : 2) - at_);
    if (minus) skip_space();
    for (size_t open = in_.find("{%", at_); open != in_.npos; open = in_.find("{%", open + 2)) {
      const char sign = open + 2 < in_.size() ? in_[open + 2] : '\0';
      size_t end = open + (sign == '-' || sign == '+' ? 3 : 2);
      end += leading_space(in_.substr(end));
      if (!in_.substr(end).starts_with("endraw")) continue;
      end += 6;
      end += leading_space(in_.substr(end));
      const std::string_view before = in_.substr(at_, open - at_);
      add(Token::Kind::kText, std::string(before.substr(0, kept_length(before, '%', sign))));
      advance(end - at_);
      if (!close_tag("%}", true)) fail("endraw is not closed");
      return true;
    }
    fail("a raw block is not closed");
  }

  // The inside of {{ }} or {% %}.
  void tag(std::string_view close) {
    int open_brackets = 0;
    for (;;) {
      skip_space();
      if (at_ >= in_.size()) fail("a tag is not closed");
      // A "}}" may also close two dicts.
      if (open_brackets == 0 && close_tag(close, close == "%}")) {
        return add(close == "}}" ? Token::Kind::kCloseOutput : Token::Kind::kCloseBlock, "");
      }
      const char c = in_[at_];
      if (c == '(' || c == '[' || c == '{') ++open_brackets;
      if (c == ')' || c == ']' || c == '}') --open_brackets;
      if (open_brackets < 0) fail(std::string("unexpected '") + c + "'");
      if (is_name(c) && !std::isdigit(static_cast<unsigned char>(c))) {
        size_t end = at_;
        while (end < in_.size() && is_name(in_[end]) && leading_space(in_.substr(end)) == 0) ++end;
        add(Token::Kind::kName, std::string(in_.substr(at_, end - at_)));
        advance(end - at_);
      } else if (std::isdigit(static_cast<unsigned char>(c))) {
        number();
      } else if (c == '"' || c == '\'') {
        string();
      } else {
        operation();
      }
    }
  }

  // Letters beyond ASCII may stand in names, as in Python.
  static bool is_name(char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || c == '_' ||
           static_cast<unsigned char>(c) >= 0x80;
  }

  void number() {
    size_t end = at_;
    bool real = false;
    const auto digits = [&] {
      while (end < in_.size() &&
             (std::isdigit(static_cast<unsigned char>(in_[end])) || in_[end] == '_'))
        ++end;
    };
    const auto prefixed = [&] {
      const std::string_view rest = in_.substr(at_);
      if (rest.size() < 3 || rest[0] != '0' ||
          std::string_view("xXoObB").find(rest[1]) == rest.npos)
        return false;
      const std::string_view digits_of = (rest[1] | 0x20) == 'x'   ? "0123456789abcdefABCDEF_"
                                         : (rest[1] | 0x20) == 'o' ? "01234567_"
                                                                   : "01_";
      end = at_ + 2 + std::min(rest.substr(2).find_first_not_of(digits_of), rest.size() - 2);
      return end > at_ + 2;
    };
    const auto digit_at = [&](size_t i) {
      return i < in_.size() && std::isdigit(static_cast<unsigned char>(in_[i]));
    };
    const bool is_prefixed = prefixed();
    if (!is_prefixed) digits();
    if (!is_prefixed && end < in_.size() && in_[end] == '.' && digit_at(end + 1)) {
      real = true;
      ++end;
      digits();
    }
    if (!is_prefixed && end < in_.size() && (in_[end] == 'e' || in_[end] == 'E')) {
      const size_t sign =
          end + 1 < in_.size() && (in_[end + 1] == '-' || in_[end + 1] == '+') ? 1 : 0;
      if (digit_at(end + 1 + sign)) {
        real = true;
        end += 1 + sign;
        digits();
      }
    }
    std::string text(in_.substr(at_, end - at_));
    std::erase(text, '_');
    add(real ? Token::Kind::kReal : Token::Kind::kInteger, std::move(text));
    advance(end - at_);
  }

  void string() {
    const char quote = in_[at_];
    std::string text;
    size_t i = at_ + 1;
    for (;; ++i) {
      if (i >= in_.size()) fail("a text is not closed");
      if (in_[i] == quote) break;
      if (in_[i] != '\\') {
        text += in_[i];
        continue;
      }
      if (++i >= in_.size()) fail("a text is not closed");
      append_escape(text, i);
    }
    add(Token::Kind::kString, std::move(text));
    advance(i + 1 - at_);
  }

  // Python's escapes; `i` is at the character behind '\' and moves to the last one of the escape.
  void append_escape(std::string& text, size_t& i) const {
    static constexpr std::string_view kFrom = "abfnrtv\\'\"\n", kTo = "\a\b\f\n\r\t\v\\'\"";
    const char c = in_[i];
    const size_t known = kFrom.find(c);
    const int digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (known < kTo.size()) {
      text += kTo[known];
    } else if (c == '\n') {
      return;
    } else if (digits > 0) {
      char32_t value = 0;
      for (int d = 0; d < digits; ++d) {
        const char h = ++i < in_.size() ? in_[i] : '\0';
        if (!std::isxdigit(static_cast<unsigned char>(h)))
          fail("an escape in a text is not complete");
        value = value * 16 + static_cast<char32_t>(std::isdigit(static_cast<unsigned char>(h))
                                                       ? h - '0'
                                                       : (h | 0x20) - 'a' + 10);
      }
      if (value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF))
        fail("an escape in a text is no character");
      utf8::append(text, value);
    } else if (c >= '0' && c <= '7') {
      char32_t value = 0;
      size_t count = 0;
      for (; count < 3 && i + count < in_.size() && in_[i + count] >= '0' && in_[i + count] <= '7';
           ++count)
        value = value * 8 + static_cast<char32_t>(in_[i + count] - '0');
      i += count - 1;
      utf8::append(text, value);
    } else if (c == 'N') {
      unsupported("an escape in a text names its character; write \\u and its number");
    } else {
      text.append(1, '\\').append(1, c);
    }
  }

  void operation() {
    for (std::string_view op : {"//", "**", "==", "!=", ">=", "<="})
      if (starts(op)) {
        add(Token::Kind::kOperator, std::string(op));
        return advance(2);
      }
    if (std::string_view("+-/*%~[](){}><=.:|,;").find(in_[at_]) == std::string_view::npos)
      fail(std::string("unexpected character '") + in_[at_] + "'");
    add(Token::Kind::kOperator, std::string(1, in_[at_]));
    advance(1);
  }

  std::string source_;
  std::string_view in_;
  size_t at_ = 0;
  int line_ = 1;
  bool line_starting_ = true;
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> tokenize(std::string_view source) { return Lexer(source).run(); }

}  // namespace klens::jinja
