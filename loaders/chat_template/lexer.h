#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace klens::jinja {

struct Token {
  enum class Kind {
    kText,         // outside of tags
    kOpenOutput,   // {{
    kCloseOutput,  // }}
    kOpenBlock,    // {%
    kCloseBlock,   // %}
    kName,
    kString,  // text without quotes and escapes
    kInteger,
    kReal,
    kOperator,
    kEnd,
  };
  Kind kind;
  int line;
  std::string text;
};

// Cuts a template into tokens, with the white space rules of trim_blocks and lstrip_blocks.
// Comments and raw blocks are gone. Throws Failure.
std::vector<Token> tokenize(std::string_view source);

}  // namespace klens::jinja
