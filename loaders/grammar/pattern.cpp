#include "loaders/grammar/pattern.h"

#include <algorithm>
#include <optional>

#include "base/error.h"
#include "loaders/grammar/characters.h"
#include "loaders/grammar/nfa.h"
#include "loaders/json.h"
#include "loaders/tokenizer/utf8.h"

namespace klens::grammar {
namespace {

constexpr int kMostPatternDepth = 100;
constexpr uint32_t kMostPatternTimes = 10000;

const Characters kDecimalDigits = {{'0', '9'}};
const Characters kWord = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
const Characters kSpace = {{'\t', '\r'},     {' ', ' '},       {0xA0, 0xA0},     {0x1680, 0x1680},
                           {0x2000, 0x200A}, {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F},
                           {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};
const Characters kLineEnds = {{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}};

class PatternParser {
 public:
  PatternParser(std::string_view text, const std::string& where) : text_(text), where_(where) {}

  Dfa parse() {
    const NodeId node = choices(0);
    if (at_ < text_.size()) fail("has a ) without a (");
    return make_dfa(grammar_, node, where_);
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw Error(ErrorKind::kUnsupported, where_ + ": pattern " + brief(text_) + " " + what);
  }
  bool take(std::string_view wanted) {
    if (text_.substr(at_, wanted.size()) != wanted) return false;
    at_ += wanted.size();
    return true;
  }
  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }

  NodeId anything() {
    return grammar_.repeat(json_character(grammar_, {{0, kLastCharacter}}), 0, kNoLimit);
  }

  NodeId choices(int depth) {
    if (depth > kMostPatternDepth) fail("has groups that are nested too deeply; simplify it");
    std::vector<NodeId> parts;
    do parts.push_back(sequence(depth));
    while (take("|"));
    return grammar_.choice(std::move(parts));
  }

  NodeId sequence(int depth) {
    std::vector<NodeId> parts;
    const bool outermost = depth == 0;
    const bool from_begin = take("^");
    if (from_begin && !outermost) fail("has ^ inside of a group; write it at the begin");
    if (outermost && !from_begin) parts.push_back(anything());
    bool to_end = false;
    while (at_ < text_.size() && peek() != '|' && peek() != ')') {
      if (peek() == '^') fail("has ^ in the middle; write it at the begin");
      if (take("$")) {
        if (!outermost || (at_ < text_.size() && peek() != '|'))
          fail("has $ in the middle; write it at the end");
        to_end = true;
        break;
      }
      parts.push_back(repeated(element(depth)));
    }
    if (outermost && !to_end) parts.push_back(anything());
    return grammar_.sequence(std::move(parts));
  }

  NodeId element(int depth) {
    if (take("(")) return group(depth);
    if (take("[")) return json_character(grammar_, set());
    if (take(".")) return json_character(grammar_, complement(kLineEnds));
    if (take("\\")) return json_character(grammar_, escaped(false));
    if (std::string_view("*+?").find(peek()) != std::string_view::npos)
      fail("has a repetition with nothing before it");
    const char32_t c = utf8::next(text_, at_);
    return json_character(grammar_, {{c, c}});
  }

  NodeId group(int depth) {
    if (take("?")) {
      if (take("=") || take("!") || take("<=") || take("<!"))
        fail("looks around ((?=, (?!, (?<=, (?<!), which cannot be enforced; write it otherwise");
      if (take("<")) {
        const size_t end = text_.find('>', at_);
        if (end == std::string_view::npos) fail("has a group's name without an end");
        at_ = end + 1;
      } else if (!take(":")) {
        fail("has a group of a kind that is not known; write (...) or (?:...)");
      }
    }
    const NodeId inner = choices(depth + 1);
    if (!take(")")) fail("has a ( without a )");
    return inner;
  }

  NodeId repeated(NodeId node) {
    for (int operators = 0;; ++operators) {
      if (operators > 1) fail("has repetitions of repetitions; use groups");
      if (take("*"))
        node = grammar_.repeat(node, 0, kNoLimit);
      else if (take("+"))
        node = grammar_.repeat(node, 1, kNoLimit);
      else if (take("?"))
        node = grammar_.optional(node);
      else if (const auto times = counts())
        node = grammar_.repeat(node, times->first, times->second);
      else
        return node;
      take("?");  // as few as possible: the same texts
    }
  }

  // {n}, {n,} or {n,m}; what only begins alike is characters.
  std::optional<std::pair<uint32_t, uint32_t>> counts() {
    const size_t begin = at_;
    if (!take("{")) return std::nullopt;
    const std::optional<uint32_t> min = number();
    if (min) {
      if (take("}")) return std::pair(*min, *min);
      if (take(",")) {
        if (take("}")) return std::pair(*min, kNoLimit);
        const std::optional<uint32_t> max = number();
        if (max && take("}")) {
          if (*max < *min) fail("has a repetition whose second number is less than its first");
          return std::pair(*min, *max);
        }
      }
    }
    at_ = begin;
    return std::nullopt;
  }

  std::optional<uint32_t> number() {
    uint32_t value = 0;
    const size_t begin = at_;
    for (; peek() >= '0' && peek() <= '9'; ++at_) {
      value = value * 10 + static_cast<uint32_t>(peek() - '0');
      if (value > kMostPatternTimes)
        fail("repeats more than " + std::to_string(kMostPatternTimes) +
             " times; use a smaller number");
    }
    return at_ == begin ? std::nullopt : std::optional(value);
  }

  Characters set() {
    const bool others = take("^");
    Characters all;
    while (!take("]")) {
      if (at_ >= text_.size()) fail("has a [ without a ]");
      const Characters first = set_member();
      const bool range = peek() == '-' && text_.substr(at_ + 1, 1) != "]" && at_ + 1 < text_.size();
      if (!range || !single(first)) {
        all.insert(all.end(), first.begin(), first.end());
        continue;
      }
      ++at_;
      const Characters last = set_member();
      if (!single(last)) fail("has a range in [] that ends with a set");
      if (last[0].first < first[0].first) fail("has a range in [] that ends before it begins");
      all.emplace_back(first[0].first, last[0].first);
    }
    return others ? complement(std::move(all)) : all;
  }
  static bool single(const Characters& set) {
    return set.size() == 1 && set[0].first == set[0].second;
  }

  Characters set_member() {
    if (take("\\")) return escaped(true);
    const char32_t c = utf8::next(text_, at_);
    return {{c, c}};
  }

  Characters escaped(bool in_set) {
    if (at_ >= text_.size()) fail("ends with a \\");
    const char32_t c = utf8::next(text_, at_);
    const auto one = [](char32_t is) { return Characters{{is, is}}; };
    switch (c) {
      case 'd':
        return kDecimalDigits;
      case 'D':
        return complement(kDecimalDigits);
      case 'w':
        return kWord;
      case 'W':
        return complement(kWord);
      case 's':
        return kSpace;
      case 'S':
        return complement(kSpace);
      case 'n':
        return one('\n');
      case 'r':
        return one('\r');
      case 't':
        return one('\t');
      case 'f':
        return one('\f');
      case 'v':
        return one('\v');
      case '0':
        return one(0);
      case 'x':
        return one(hex(2));
      case 'u':
        return one(take("{") ? braced() : hex(4));
      case 'c':
        return one(control());
      case 'b':
        if (in_set) return one('\b');
        break;
      default:
        break;
    }
    if ((c >= '1' && c <= '9') || c == 'k')
      fail("refers back to a group, which cannot be enforced; write it otherwise");
    if (c == 'b' || c == 'B' || c == 'p' || c == 'P')
      fail("has \\" + utf8::encode(c) + ", which is not supported; write a set [...]");
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))
      fail("has the unknown escape \\" + utf8::encode(c));
    return one(c);
  }

  char32_t hex(size_t digits) {
    char32_t value = 0;
    for (size_t i = 0; i < digits; ++i) value = value * 16 + hex_digit();
    return value;
  }
  char32_t braced() {
    char32_t value = 0;
    do {
      value = value * 16 + hex_digit();
      if (value > kLastCharacter) fail("has an escape that is no character");
    } while (!take("}"));
    return value;
  }
  char32_t hex_digit() {
    const char c = peek();
    ++at_;
    if (c >= '0' && c <= '9') return static_cast<char32_t>(c - '0');
    if (c >= 'a' && c <= 'f') return static_cast<char32_t>(c - 'a' + 10);
    if (c >= 'A' && c <= 'F') return static_cast<char32_t>(c - 'A' + 10);
    fail("has an escape without its hexadecimal digits");
  }
  char32_t control() {
    const char c = peek();
    if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))) fail("has \\c without a letter");
    ++at_;
    return static_cast<char32_t>(c % 32);
  }

  std::string_view text_;
  const std::string& where_;
  size_t at_ = 0;
  Grammar grammar_;
};

}  // namespace

Dfa pattern_dfa(std::string_view pattern, const std::string& where) {
  return PatternParser(pattern, where).parse();
}

}  // namespace klens::grammar
