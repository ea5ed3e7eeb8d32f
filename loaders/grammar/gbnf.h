#pragma once
#include <string>
#include <string_view>

#include "loaders/grammar/grammar.h"

namespace klens::grammar {

// A grammar in llama.cpp's notation (GBNF): `name ::= ...` with "texts", [sets], ., (groups), |, *,
// +,
// ?, {n}, {n,}, {n,m} and # comments; the text begins with `root`. Rules may call themselves in any
// place. One thing more: %json {...} is a JSON value that the schema between the braces allows.
// `name` is the grammar's for messages. Throws Error naming the line.
Grammar parse_gbnf(std::string_view text, const std::string& name);

}  // namespace klens::grammar
