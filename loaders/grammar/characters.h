#pragma once
#include <utility>
#include <vector>

#include "loaders/grammar/grammar.h"

namespace klens::grammar {

// Sets of Unicode characters, as ranges in any order.
using Characters = std::vector<std::pair<char32_t, char32_t>>;
inline constexpr char32_t kLastCharacter = 0x10FFFF;

Characters complement(Characters set);
Characters common(const Characters& a, const Characters& b);

// One character of the set, in UTF-8. Surrogates are no characters.
NodeId character(Grammar& grammar, const Characters& set);

// One character of the set as it stands in a JSON string: quotes, backslashes and controls escaped
// in the shortest way, all others as they are.
NodeId json_character(Grammar& grammar, const Characters& set);
// A text as it stands there.
std::string json_text(std::string_view utf8);

}  // namespace klens::grammar
