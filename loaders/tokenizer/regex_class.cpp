#include "loaders/tokenizer/regex_class.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <initializer_list>
#include <utility>

#include "loaders/tokenizer/unicode_tables.h"

namespace klens {
namespace {

std::string code_point(char32_t c) {
  char text[16];
  std::snprintf(text, sizeof text, "\\x{%x}", static_cast<unsigned>(c));
  return text;
}

std::string range(char32_t first, char32_t last) {
  return first == last ? code_point(first) : code_point(first) + "-" + code_point(last);
}

// The general categories that begin with one of `prefixes` ("L", "Nd").
std::string categories(std::initializer_list<std::string_view> prefixes, bool exact) {
  std::string set;
  for (std::string_view p : prefixes) {
    set += "\\p{" + std::string(p) + "}";
    if (!exact) continue;
    for (const unicode::CategoryRange& r : unicode::kNewCategories)
      if (std::string_view(r.category, p.size()) == p) set += range(r.first, r.last);
  }
  return set;
}

std::string alphabetic(bool exact) {
  std::string set = "\\p{Alphabetic}";
  if (!exact) return set;
  for (const unicode::CategoryRange& r : unicode::kNewCategories)
    if (r.category[0] == 'L') set += range(r.first, r.last);
  for (const unicode::Range& r : unicode::kNewAlphabetic) set += range(r.first, r.last);
  return set;
}

std::string word(bool exact) {
  return "\\p{Alphabetic}" + categories({"M", "Nd", "Pc"}, exact) +
         (exact ? categories({"L", "Nl"}, exact) : "");
}

// White_Space. PCRE2's \s has U+180E besides, which needs the exact pattern.
std::string space(bool exact) {
  return exact ? "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}"
                 "\\x{202f}\\x{205f}\\x{3000}"
               : "\\s";
}

// Cn and C shrink as Unicode grows: the complement of a set that grows.
CharSet unassigned(bool with_other, bool exact) {
  std::string others = with_other ? "\\P{C}" : "\\P{Cn}";
  if (exact)
    for (const unicode::CategoryRange& r : unicode::kNewCategories)
      if (!with_other || r.category[0] != 'C') others += range(r.first, r.last);
  return {"", {others}};
}

std::string normalized_name(std::string_view name) {
  std::string out;
  for (char c : name)
    if (c != ' ' && c != '_' && c != '-')
      out += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

// The short form of a general category's name; "" if it is none.
std::string category_name(const std::string& name) {
  static constexpr std::string_view kShort[] = {
      "L",  "Lu", "Ll", "Lt", "Lm", "Lo", "M",  "Mn", "Mc", "Me", "N",  "Nd",
      "Nl", "No", "P",  "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "S",  "Sm",
      "Sc", "Sk", "So", "Z",  "Zs", "Zl", "Zp", "C",  "Cc", "Cf", "Cn", "Co"};
  static constexpr std::pair<std::string_view, std::string_view> kLong[] = {
      {"letter", "L"},
      {"uppercaseletter", "Lu"},
      {"lowercaseletter", "Ll"},
      {"titlecaseletter", "Lt"},
      {"modifierletter", "Lm"},
      {"otherletter", "Lo"},
      {"mark", "M"},
      {"nonspacingmark", "Mn"},
      {"spacingmark", "Mc"},
      {"enclosingmark", "Me"},
      {"number", "N"},
      {"decimalnumber", "Nd"},
      {"letternumber", "Nl"},
      {"othernumber", "No"},
      {"punctuation", "P"},
      {"connectorpunctuation", "Pc"},
      {"dashpunctuation", "Pd"},
      {"openpunctuation", "Ps"},
      {"closepunctuation", "Pe"},
      {"initialpunctuation", "Pi"},
      {"finalpunctuation", "Pf"},
      {"otherpunctuation", "Po"},
      {"symbol", "S"},
      {"mathsymbol", "Sm"},
      {"currencysymbol", "Sc"},
      {"modifiersymbol", "Sk"},
      {"othersymbol", "So"},
      {"separator", "Z"},
      {"spaceseparator", "Zs"},
      {"lineseparator", "Zl"},
      {"paragraphseparator", "Zp"},
      {"other", "C"},
      {"control", "Cc"},
      {"format", "Cf"},
      {"unassigned", "Cn"},
      {"privateuse", "Co"}};
  for (std::string_view s : kShort)
    if (normalized_name(s) == name) return std::string(s);
  for (const auto& [key, value] : kLong)
    if (key == name) return std::string(value);
  return "";
}

bool pcre_accepts(const std::string& pattern) {
  int error = 0;
  PCRE2_SIZE at = 0;
  pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                                   PCRE2_UTF | PCRE2_UCP, &error, &at, nullptr);
  pcre2_code_free(code);
  return code != nullptr;
}

}  // namespace

void CharSet::add(const CharSet& other) {
  in += other.in;
  out.insert(out.end(), other.out.begin(), other.out.end());
}

bool CharSet::complement() {
  if (out.empty()) {
    out.push_back(std::exchange(in, ""));
    return true;
  }
  if (!in.empty() || out.size() != 1) return false;
  in = std::move(out[0]);
  out.clear();
  return true;
}

std::string class_pattern(const std::vector<CharSet>& sets, bool negated) {
  if (sets.size() == 1) {
    const CharSet& set = sets[0];
    if (set.out.empty()) return (negated ? "[^" : "[") + set.in + "]";
    if (set.in.empty() && set.out.size() == 1) return (negated ? "[" : "[^") + set.out[0] + "]";
    std::string any;
    if (!set.in.empty()) any = "[" + set.in + "]|";
    for (const std::string& o : set.out) any += "[^" + o + "]|";
    any.pop_back();
    return negated ? "(?:(?!" + any + ")(?s:.))" : "(?:" + any + ")";
  }
  std::string all;
  for (const CharSet& set : sets) all += "(?=" + class_pattern({set}, false) + ")";
  return negated ? "(?:(?!" + all + ")(?s:.))" : "(?:" + all + "(?s:.))";
}

CharSet shorthand_set(char letter, bool in_class, bool exact) {
  switch (letter) {
    case 's':
      return {space(exact), {}};
    case 'd':
      return {categories({"Nd"}, exact), {}};
    case 'h':
      return {"0-9a-fA-F", {}};
    default:  // 'w'; alone, Oniguruma counts six more characters of Latin-1 in
      return {word(exact) + (in_class ? "" : "\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}"), {}};
  }
}

std::optional<CharSet> posix_set(std::string_view name, bool exact) {
  const auto in = [](std::string set) { return CharSet{std::move(set), {}}; };
  if (name == "alpha") return in(alphabetic(exact));
  if (name == "alnum") return in(alphabetic(exact) + categories({"Nd"}, exact));
  if (name == "digit") return in(categories({"Nd"}, exact));
  if (name == "space") return in(space(exact));
  if (name == "blank") return in("\\t" + categories({"Zs"}, exact));
  if (name == "upper") return in("\\p{Uppercase}" + (exact ? categories({"Lu"}, exact) : ""));
  if (name == "lower") return in("\\p{Lowercase}" + (exact ? categories({"Ll"}, exact) : ""));
  if (name == "punct") return in(categories({"P", "S"}, exact));
  if (name == "cntrl") return in("\\p{Cc}");
  if (name == "xdigit") return in("0-9a-fA-F");
  if (name == "word") return in(word(exact));
  if (name == "ascii") return in("\\x{0}-\\x{7f}");
  return std::nullopt;
}

std::optional<CharSet> property_set(std::string_view given, bool exact) {
  const std::string name = normalized_name(given);
  if (name.empty() ||
      !std::all_of(name.begin(), name.end(), [](unsigned char c) { return std::isalnum(c) != 0; }))
    return std::nullopt;
  if (name == "any") return CharSet{"\\x{0}-\\x{10ffff}", {}};
  if (const std::string category = category_name(name); !category.empty()) {
    if (category == "C" || category == "Cn") return unassigned(category == "C", exact);
    return CharSet{categories({category}, exact), {}};
  }
  if (name == "alphabetic") return posix_set("alpha", exact);
  if (name == "uppercase") return posix_set("upper", exact);
  if (name == "lowercase") return posix_set("lower", exact);
  if (name == "whitespace") return posix_set("space", exact);
  if (auto set = posix_set(name, exact)) return set;
  std::string script = "\\p{sc:" + name + "}";
  if (pcre_accepts(script)) {
    if (exact)
      for (const unicode::ScriptRange& r : unicode::kNewInScript)
        if (name == r.script) script += range(r.first, r.last);
    return CharSet{script, {}};
  }
  const std::string property = "\\p{" + name + "}";
  if (pcre_accepts(property)) return CharSet{property, {}};
  return std::nullopt;
}

std::string escaped_character(char32_t c) {
  if (c < 0x80 && std::isalnum(static_cast<int>(c))) return {static_cast<char>(c)};
  return code_point(c);
}

}  // namespace klens
