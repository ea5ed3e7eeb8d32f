#include "loaders/grammar/gbnf.h"

#include <algorithm>
#include <map>
#include <optional>

#include "base/error.h"
#include "loaders/grammar/characters.h"
#include "loaders/grammar/json_schema.h"
#include "loaders/json.h"
#include "loaders/tokenizer/utf8.h"

namespace klens::grammar {
namespace {

constexpr int kMostGbnfDepth = 200;
constexpr uint32_t kMostGbnfTimes = 1'000'000;
constexpr size_t kMostSchemas = 1024;

bool is_name(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '_';
}

class GbnfParser {
 public:
  GbnfParser(std::string_view text, const std::string& name) : text_(text), name_(name) {}

  Grammar parse() {
    if (!utf8::is_valid(text_)) fail("is not UTF-8; save it as UTF-8");
    take("\xEF\xBB\xBF");  // a byte order mark, which JSON's parser passes over too
    skip(true);
    while (at_ < text_.size()) rule();
    const auto root = ids_.find("root");
    if (root == ids_.end() || !defined_[root->second])
      throw Error(ErrorKind::kBadArgument,
                  name_ + ": has no rule root, which texts begin with; add root ::= ...");
    for (const auto& [name, id] : ids_)
      if (!defined_[id])
        throw Error(ErrorKind::kBadArgument, name_ + ": line " + std::to_string(lines_[id]) +
                                                 ": there is no rule " + brief(name) +
                                                 "; add it, or correct the name");
    grammar_.start = root->second;
    return std::move(grammar_);
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw Error(ErrorKind::kBadArgument, name_ + ": line " + std::to_string(line()) + ": " + what);
  }
  size_t line() const {
    const auto end = text_.begin() + static_cast<std::ptrdiff_t>(std::min(at_, text_.size()));
    return 1 + static_cast<size_t>(std::count(text_.begin(), end, '\n'));
  }
  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  bool take(std::string_view wanted) {
    if (text_.substr(at_, wanted.size()) != wanted) return false;
    at_ += wanted.size();
    return true;
  }

  // White space and comments; line ends too where a rule cannot end.
  void skip(bool line_ends) {
    for (; at_ < text_.size(); ++at_) {
      const char c = text_[at_];
      if (c == '#') {
        while (at_ < text_.size() && text_[at_] != '\n' && text_[at_] != '\r') ++at_;
        --at_;
      } else if (c != ' ' && c != '\t' && !(line_ends && (c == '\n' || c == '\r'))) {
        return;
      }
    }
  }

  std::string word() {
    const size_t begin = at_;
    while (at_ < text_.size() && is_name(text_[at_])) ++at_;
    if (at_ == begin) fail("expected the name of a rule (letters, digits, - and _)");
    return std::string(text_.substr(begin, at_ - begin));
  }

  RuleId id_of(const std::string& name) {
    const auto [at, added] = ids_.try_emplace(name, 0);
    if (!added) return at->second;
    at->second = grammar_.add_rule(name_ + ": rule " + brief(name));
    defined_.push_back(false);
    lines_.push_back(line());
    return at->second;
  }

  void rule() {
    const std::string name = word();
    const RuleId id = id_of(name);
    if (defined_[id]) fail("rule " + brief(name) + " stands there twice; keep one");
    defined_[id] = true;
    skip(false);
    if (!take("::=")) fail("expected ::= behind " + brief(name));
    skip(true);
    grammar_.define(id, choices(0));
    if (at_ < text_.size() && peek() != '\n' && peek() != '\r')
      fail(std::string("unexpected ") + brief(text_.substr(at_, 1)) +
           "; a rule ends with its line, unless in parentheses or behind |");
    skip(true);
  }

  NodeId choices(int depth) {
    if (depth > kMostGbnfDepth)
      fail("parentheses are nested deeper than " + std::to_string(kMostGbnfDepth) +
           " levels; make rules of them");
    std::vector<NodeId> parts = {sequence(depth)};
    while (take("|")) {
      skip(true);
      parts.push_back(sequence(depth));
    }
    return parts.size() == 1 ? parts[0] : grammar_.choice(std::move(parts));
  }

  NodeId sequence(int depth) {
    std::vector<NodeId> parts;
    for (;;) {
      const std::optional<NodeId> part = element(depth);
      if (!part) break;
      parts.push_back(repeated(*part));
      skip(depth > 0);
    }
    return grammar_.sequence(std::move(parts));
  }

  std::optional<NodeId> element(int depth) {
    const char c = peek();
    if (take("\"")) return quoted();
    if (take("[")) return set();
    if (take(".")) return character(grammar_, {{0, kLastCharacter}});
    if (take("(")) {
      skip(true);
      const NodeId inner = choices(depth + 1);
      if (!take(")")) fail("a ( has no ); add it");
      return inner;
    }
    if (take("%json")) return schema();
    if (c == '<' || c == '!')
      fail("tokens in grammars (<...>, !<...>) are not supported; write the text they stand for");
    if (!is_name(c)) return std::nullopt;
    return grammar_.call(id_of(word()));
  }

  // A schema's rules; those of the same schema are there once.
  NodeId schema() {
    skip(false);
    const std::string where = name_ + ": line " + std::to_string(line()) + ": the schema of %json";
    const std::string text(json_object_text());
    const auto [at, added] = schemas_.try_emplace(text, 0);
    if (added) {
      if (schemas_.size() > kMostSchemas)
        fail("has more than " + std::to_string(kMostSchemas) + " schemas; simplify it");
      at->second = grammar_.include(parse_json_schema(text, where));
      defined_.resize(grammar_.rules().size(), true);
      lines_.resize(grammar_.rules().size(), line());
    }
    return grammar_.call(at->second);
  }

  // From { to its }, braces within strings apart. What stands between is for the schema's parser.
  std::string_view json_object_text() {
    const size_t begin = at_;
    size_t depth = 0;
    bool quoted = false;
    while (peek() == '{' || depth > 0) {
      if (at_ >= text_.size()) break;
      const char c = text_[at_++];
      if (quoted && c == '\\')
        ++at_;
      else if (c == '"')
        quoted = !quoted;
      else if (!quoted && c == '{')
        ++depth;
      else if (!quoted && c == '}' && --depth == 0)
        return text_.substr(begin, at_ - begin);
    }
    at_ = begin;
    fail("%json needs a schema in braces behind it: %json {\"type\": \"integer\"}");
  }

  // The operators behind an element.
  NodeId repeated(NodeId node) {
    for (int operators = 0;; ++operators) {
      if (operators > 8) fail("has too many repetitions behind each other; keep one");
      const size_t before = at_;
      skip(false);
      if (take("*"))
        node = grammar_.repeat(node, 0, kNoLimit);
      else if (take("+"))
        node = grammar_.repeat(node, 1, kNoLimit);
      else if (take("?"))
        node = grammar_.optional(node);
      else if (take("{"))
        node = counted(node);
      else {
        at_ = before;
        return node;
      }
    }
  }

  NodeId counted(NodeId node) {
    skip(false);
    const uint32_t min = number();
    uint32_t max = min;
    skip(false);
    if (take(",")) {
      skip(false);
      max = peek() == '}' ? kNoLimit : number();
      skip(false);
    }
    if (!take("}")) fail("a repetition must be {n}, {n,} or {n,m}");
    if (max < min) fail("a repetition's second number is less than its first; exchange them");
    return grammar_.repeat(node, min, max);
  }

  uint32_t number() {
    uint32_t value = 0;
    const size_t begin = at_;
    for (; peek() >= '0' && peek() <= '9'; ++at_) {
      value = value * 10 + static_cast<uint32_t>(peek() - '0');
      if (value > kMostGbnfTimes)
        fail("repetitions may be " + std::to_string(kMostGbnfTimes) +
             " at most; use a smaller one");
    }
    if (at_ == begin) fail("a repetition must be {n}, {n,} or {n,m}");
    return value;
  }

  NodeId quoted() {
    std::string bytes;
    while (!take("\"")) {
      if (at_ >= text_.size() || peek() == '\n') fail("a text has no closing \"; add it");
      utf8::append(bytes, one_character());
    }
    return grammar_.text(bytes);
  }

  NodeId set() {
    const bool others = take("^");
    Characters set;
    while (!take("]")) {
      if (at_ >= text_.size() || peek() == '\n') fail("a set has no closing ]; add it");
      const char32_t first = one_character();
      char32_t last = first;
      if (peek() == '-' && text_.substr(at_ + 1, 1) != "]") {
        ++at_;
        if (at_ >= text_.size()) fail("a set has no closing ]; add it");
        last = one_character();
        if (last < first) fail("a range in a set ends before it begins; exchange its ends");
      }
      set.emplace_back(first, last);
    }
    return character(grammar_, others ? complement(std::move(set)) : set);
  }

  char32_t one_character() {
    if (!take("\\")) return utf8::next(text_, at_);
    if (at_ >= text_.size()) fail("a \\ ends the grammar; write \\\\ for a backslash");
    const char c = text_[at_++];
    switch (c) {
      case 'n':
        return '\n';
      case 'r':
        return '\r';
      case 't':
        return '\t';
      case 'x':
        return hex(2);
      case 'u':
        return hex(4);
      case 'U':
        return hex(8);
      case '\\':
      case '"':
      case '[':
      case ']':
      case '-':
      case '^':
        return static_cast<char32_t>(c);
      default:
        fail("there is no escape \\" + brief(text_.substr(at_ - 1, 1)) +
             "; there are \\n \\r \\t \\\\ \\\" \\[ \\] \\- \\^ \\xNN \\uNNNN \\UNNNNNNNN");
    }
  }

  char32_t hex(size_t digits) {
    uint64_t value = 0;
    for (size_t i = 0; i < digits; ++i, ++at_) {
      const char c = peek();
      const int digit = c >= '0' && c <= '9'   ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : -1;
      if (digit < 0) fail("an escape needs " + std::to_string(digits) + " hexadecimal digits");
      value = value * 16 + static_cast<uint64_t>(digit);
    }
    if (value > kLastCharacter || (value >= 0xD800 && value <= 0xDFFF))
      fail("an escape is no Unicode character");
    return static_cast<char32_t>(value);
  }

  std::string_view text_;
  const std::string& name_;
  size_t at_ = 0;
  Grammar grammar_;
  std::map<std::string, RuleId> ids_;
  std::map<std::string, RuleId> schemas_;  // by their text
  std::vector<bool> defined_;              // by rule
  std::vector<size_t> lines_;              // by rule: where it is named first
};

}  // namespace

Grammar parse_gbnf(std::string_view text, const std::string& name) {
  return GbnfParser(text, name).parse();
}

}  // namespace klens::grammar
