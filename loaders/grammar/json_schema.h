#pragma once
#include <string>
#include <string_view>

#include "loaders/grammar/grammar.h"

namespace klens::grammar {

// The JSON values that a schema allows, or some of them: members stand in the schema's order,
// others than those it names are there only where it speaks of them, strings that it constrains are
// written in one way. What cannot be enforced is refused by name. `name` is the schema's for
// messages. Throws Error with place and cure; also if no value meets it, or a key stands twice.
Grammar parse_json_schema(std::string_view text, const std::string& name);

// Any JSON object.
Grammar json_object();

}  // namespace klens::grammar
