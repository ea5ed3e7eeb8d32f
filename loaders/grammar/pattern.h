#pragma once
#include <string>
#include <string_view>

#include "loaders/grammar/dfa.h"

namespace klens::grammar {

// The texts that match a regular expression of JSON Schema (ECMA-262) somewhere, as they stand in a
// JSON string. Understood: characters and escapes, ., sets, \d \w \s and their opposites, groups,
// |, repetitions, ^ at the begin and $ at the end of an alternative. Throws Error naming `where`
// and what else there is: looking around, back references, \b, \p.
Dfa pattern_dfa(std::string_view pattern, const std::string& where);

}  // namespace klens::grammar
