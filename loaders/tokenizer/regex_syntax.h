#pragma once
#include <string>
#include <string_view>

namespace klens {

// A pattern of tokenizer.json is written for Oniguruma with Ruby's syntax. This spells it for
// PCRE2.
struct PcrePattern {
  std::string plain;  // for texts without characters that are newer than PCRE2's Unicode tables
  std::string exact;  // for all texts; equal to `plain` where the pattern names no character class
};

// Differences that are taken care of: what \s \w \h \v . ^ $ and (?m) mean, options that are
// switched on in mid-pattern, classes within classes and intersections, scripts, quantifiers after
// quantifiers. Throws Error, which begins with `where`, for what has no equivalent: \X \K \G's
// relatives, (?x), absence operators, conditions, POSIX classes graph and print. Known limit: under
// (?i) one character never matches several (Oniguruma folds the sharp s to "ss").
PcrePattern translate_pattern(std::string_view pattern, const std::string& where);

}  // namespace klens
