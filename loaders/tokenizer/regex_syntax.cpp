#include "loaders/tokenizer/regex_syntax.h"

#include <cctype>
#include <optional>
#include <vector>

#include "base/error.h"
#include "loaders/tokenizer/regex_class.h"
#include "loaders/tokenizer/utf8.h"

namespace klens {
namespace {

constexpr int kMaxNestedClasses = 16;

class Translator {
 public:
  Translator(std::string_view pattern, const std::string& where, bool exact)
      : in_(pattern), where_(where), exact_(exact) {}

  std::string run() {
    groups_.push_back({});
    while (at_ < in_.size()) step();
    if (groups_.size() != 1) refuse("a group that is not closed");
    out_.append(static_cast<size_t>(groups_[0].options), ')');
    return std::move(out_);
  }

 private:
  struct Group {
    size_t begin = 0;  // where its text begins in out_
    int options = 0;   // groups opened by options such as (?i) in its midst, to be closed with it
  };

  [[noreturn]] void refuse(const std::string& what) const {
    throw Error(ErrorKind::kUnsupported,
                where_ + ": pattern \"" + std::string(in_) + "\" has " + what +
                    ", which klens cannot follow; rewrite the pattern without it");
  }

  char peek(size_t ahead = 0) const { return at_ + ahead < in_.size() ? in_[at_ + ahead] : '\0'; }
  bool starts(std::string_view s) const { return in_.substr(at_).starts_with(s); }

  // Appends something that a quantifier may follow.
  void atom(const std::string& text) {
    atom_ = out_.size();
    quantified_ = false;
    out_ += text;
  }

  void step() {
    const char c = peek();
    switch (c) {
      case '\\':
        return escape();
      case '[': {
        ++at_;
        return atom(read_class(0).pattern);
      }
      case '(':
        return open_group();
      case ')':
        return close_group();
      case '|':
        ++at_;
        out_ += '|';
        atom_.reset();
        return;
      case '*':
      case '+':
      case '?':
        ++at_;
        return quantify(std::string(1, c), true, true);
      case '{':
        if (counted_quantifier()) return;
        break;
      case '.':
      case '^':
      case '$':
        ++at_;
        return atom(std::string(1, c));
      default:
        break;
    }
    atom(escaped_character(utf8::next(in_, at_)));
  }

  // `text` is the quantifier; a '?' behind it makes it lazy, a '+' possessive, where Ruby reads it
  // so.
  void quantify(std::string text, bool may_be_lazy, bool may_be_possessive) {
    if (!atom_) refuse("a quantifier that follows nothing");
    if (quantified_) {
      out_.insert(*atom_, "(?:");
      out_ += ')';
    }
    if ((may_be_lazy && peek() == '?') || (may_be_possessive && peek() == '+')) text += in_[at_++];
    out_ += text;
    quantified_ = true;
  }

  // {n} {n,} {,m} {n,m}; anything else with a brace is text.
  bool counted_quantifier() {
    size_t i = at_ + 1;
    std::string low, high;
    while (i < in_.size() && std::isdigit(static_cast<unsigned char>(in_[i]))) low += in_[i++];
    const bool comma = i < in_.size() && in_[i] == ',';
    if (comma) ++i;
    while (comma && i < in_.size() && std::isdigit(static_cast<unsigned char>(in_[i])))
      high += in_[i++];
    if (i >= in_.size() || in_[i] != '}' || (low.empty() && high.empty()) || !atom_) return false;
    at_ = i + 1;
    if (low.empty()) low = "0";
    low.insert(0, 1, '{');
    quantify(low.append(comma ? "," : "").append(high).append("}"), comma, false);
    return true;
  }

  void open_group() {
    const size_t begin = out_.size();
    ++at_;
    if (starts("?#")) {
      while (peek() != ')' && at_ < in_.size()) at_ += peek() == '\\' ? 2 : 1;
      ++at_;
      return;
    }
    atom_.reset();
    for (std::string_view kind : {"?:", "?=", "?!", "?>", "?<=", "?<!"})
      if (starts(kind)) {
        at_ += kind.size();
        out_.append("(").append(kind);
        return groups_.push_back({begin, 0});
      }
    if (starts("?<")) {
      const size_t end = in_.find('>', at_);
      if (end == in_.npos) refuse("a group name that does not end");
      out_.append("(").append(in_.substr(at_, end + 1 - at_));
      at_ = end + 1;
      return groups_.push_back({begin, 0});
    }
    if (peek() == '?') return options(begin);
    out_ += '(';
    groups_.push_back({begin, 0});
  }

  // (?im-i:...) and (?im-i), which in Ruby opens a group that reaches to the end of the one around
  // it.
  void options(size_t begin) {
    std::string flags;
    for (++at_; at_ < in_.size() && peek() != ')' && peek() != ':'; ++at_) {
      const char c = peek();
      if (c == 'm') {
        flags += 's';
      } else if (c == 'i' || c == '-') {
        flags += c;
      } else {
        refuse("the group (?" + std::string(in_.substr(at_, 1)));
      }
    }
    out_ += "(?" + flags + ":";
    if (peek() == ':') {
      groups_.push_back({begin, 0});
    } else {
      ++groups_.back().options;
    }
    ++at_;
  }

  void close_group() {
    if (groups_.size() == 1) refuse("a ) too many");
    ++at_;
    out_.append(static_cast<size_t>(groups_.back().options) + 1, ')');
    atom_ = groups_.back().begin;
    quantified_ = false;
    groups_.pop_back();
  }

  void escape() {
    if (const std::optional<CharSet> set = class_escape(false))
      return atom(class_pattern({*set}, false));
    const char c = peek(1);
    const std::string word = class_pattern({shorthand_set('w', false, exact_)}, false);
    const std::string ahead = "(?=" + word + ")", behind = "(?<=" + word + ")";
    const std::string not_ahead = "(?!" + word + ")", not_behind = "(?<!" + word + ")";
    switch (c) {
      case 'A':
      case 'Z':
      case 'z':
      case 'G':
        at_ += 2;
        return atom(std::string("\\") + c);
      case 'b':
        at_ += 2;
        return atom("(?:" + behind + not_ahead + "|" + not_behind + ahead + ")");
      case 'B':
        at_ += 2;
        return atom("(?:" + behind + ahead + "|" + not_behind + not_ahead + ")");
      case 'R':
        at_ += 2;
        return atom("(?>\\r\\n|[\\x{a}-\\x{d}\\x{85}\\x{2028}\\x{2029}])");
      default:
        break;
    }
    if (c >= '1' && c <= '9' && !std::isdigit(static_cast<unsigned char>(peek(2)))) {
      at_ += 2;
      return atom(std::string("\\g{") + c + "}");
    }
    atom(escaped_character(character_escape()));
  }

  // \s \D \p{...} and the like, at at_ or not there.
  std::optional<CharSet> class_escape(bool in_class) {
    const char c = peek(1);
    const char lower = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    if (lower == 's' || lower == 'd' || lower == 'w' || lower == 'h') {
      at_ += 2;
      CharSet set = shorthand_set(lower, in_class, exact_);
      if (c != lower) set.complement();
      return set;
    }
    if (lower != 'p' || peek(2) != '{') return std::nullopt;
    const size_t end = in_.find('}', at_);
    if (end == in_.npos) refuse("a property name that does not end");
    std::string_view name = in_.substr(at_ + 3, end - at_ - 3);
    const bool caret = name.starts_with('^');
    if (caret) name.remove_prefix(1);
    std::optional<CharSet> set = property_set(name, exact_);
    if (!set) refuse("the character property \"" + std::string(name) + "\"");
    at_ = end + 1;
    if ((c == 'P') != caret) set->complement();
    return set;
  }

  // An escape that stands for one character.
  char32_t character_escape() {
    ++at_;
    if (at_ >= in_.size()) refuse("a \\ at its end");
    const char32_t c = utf8::next(in_, at_);
    switch (c) {
      case 't':
        return '\t';
      case 'n':
        return '\n';
      case 'r':
        return '\r';
      case 'f':
        return '\f';
      case 'v':
        return '\v';
      case 'a':
        return '\a';
      case 'e':
        return 0x1B;
      case '0':
        return number(8, 2, 0);
      case 'u':
        return number(16, 4, 4);
      case 'x': {
        if (peek() != '{') {
          const char32_t value = number(16, 2, 1);
          if (value >= 0x80) refuse("a byte above \\x7f");
          return value;
        }
        ++at_;
        const char32_t value = number(16, 8, 1);
        if (peek() != '}') refuse("a \\x{ that does not end");
        ++at_;
        return value;
      }
      default:
        if (c < 0x80 && std::isalnum(static_cast<int>(c)))
          refuse(std::string("the escape \\") + static_cast<char>(c));
        return c;
    }
  }

  char32_t number(unsigned base, int most, int least) {
    char32_t value = 0;
    int digits = 0;
    for (; digits < most && std::isxdigit(static_cast<unsigned char>(peek())); ++digits, ++at_) {
      const char c = peek();
      const auto digit = static_cast<unsigned>(
          std::isdigit(static_cast<unsigned char>(c)) ? c - '0' : std::tolower(c) - 'a' + 10);
      if (digit >= base) break;
      value = value * base + digit;
    }
    if (digits < least || value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF))
      refuse("a character number that is none");
    return value;
  }

  struct Class {
    std::string pattern;
    std::vector<CharSet> sets;
    bool negated;
  };

  // Behind '[': reads up to and with ']'.
  Class read_class(int depth) {
    if (depth > kMaxNestedClasses) refuse("classes nested too deeply");
    Class result{"", {CharSet{}}, peek() == '^'};
    if (result.negated) ++at_;
    bool first = true;
    for (;; first = false) {
      if (at_ >= in_.size()) refuse("a class that is not closed");
      CharSet& set = result.sets.back();
      if (peek() == ']' && !first) break;
      if (starts("&&")) {
        at_ += 2;
        result.sets.emplace_back();
      } else if (starts("[:")) {
        set.add(read_posix());
      } else if (peek() == '[') {
        ++at_;
        set.add(nested(read_class(depth + 1)));
      } else if (auto escape = peek() == '\\' ? class_escape(true) : std::nullopt) {
        if (peek() == '-' && peek(1) != ']') refuse("a range that begins with a class");
        set.add(*escape);
      } else {
        set.in += read_range();
      }
    }
    ++at_;
    for (const CharSet& set : result.sets)
      if (set.in.empty() && set.out.empty()) refuse("an empty class");
    result.pattern = class_pattern(result.sets, result.negated);
    return result;
  }

  CharSet nested(Class inner) {
    if (inner.sets.size() != 1 || (inner.negated && !inner.sets[0].complement()))
      refuse("a class within a class that is more than a union");
    return inner.sets[0];
  }

  CharSet read_posix() {
    const size_t end = in_.find(":]", at_ + 2);
    if (end == in_.npos) refuse("a POSIX class that does not end");
    std::string_view name = in_.substr(at_ + 2, end - at_ - 2);
    const bool caret = name.starts_with('^');
    if (caret) name.remove_prefix(1);
    std::optional<CharSet> set = posix_set(name, exact_);
    if (!set) refuse("the POSIX class \"" + std::string(name) + "\"");
    at_ = end + 2;
    if (caret) set->complement();
    return *set;
  }

  char32_t class_character() {
    if (peek() != '\\') return utf8::next(in_, at_);
    if (peek(1) == 'b') {
      at_ += 2;
      return '\b';
    }
    return character_escape();
  }

  std::string read_range() {
    const char32_t low = class_character();
    if (peek() != '-' || peek(1) == ']' || at_ + 1 >= in_.size() || starts("-&&"))
      return escaped_character(low);
    ++at_;
    if (peek() == '[') refuse("a range that ends with a class");
    const char32_t high = class_character();
    if (high < low) refuse("a range whose end is before its begin");
    return escaped_character(low) + "-" + escaped_character(high);
  }

  std::string_view in_;
  const std::string& where_;
  bool exact_;
  size_t at_ = 0;
  std::string out_;
  std::optional<size_t> atom_;  // where in out_ the part begins that a quantifier would apply to
  bool quantified_ = false;
  std::vector<Group> groups_;
};

}  // namespace

PcrePattern translate_pattern(std::string_view pattern, const std::string& where) {
  return {Translator(pattern, where, false).run(), Translator(pattern, where, true).run()};
}

}  // namespace klens
