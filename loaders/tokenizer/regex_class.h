#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace klens {

// A set of characters: the union of what may stand between PCRE2's brackets and of complements of
// such.
struct CharSet {
  std::string in;                // "a-z\p{L}"; may be empty
  std::vector<std::string> out;  // each is the inside of a negated class

  void add(const CharSet& other);
  bool complement();  // false if the set is a union that has no simple complement
};

// A pattern that matches one character of the intersection of `sets` (at least one, none of them
// empty), or outside of it.
std::string class_pattern(const std::vector<CharSet>& sets, bool negated);

// \s \d \w \h, as they stand in a class or alone, \p{NAME} and [:NAME:]. `exact` adds what is newer
// than PCRE2's tables. property_set gives nothing for a name that neither library knows.
CharSet shorthand_set(char letter, bool in_class, bool exact);
std::optional<CharSet> property_set(std::string_view name, bool exact);
std::optional<CharSet> posix_set(std::string_view name, bool exact);

// c as PCRE2 reads it inside and outside of brackets.
std::string escaped_character(char32_t c);

}  // namespace klens
