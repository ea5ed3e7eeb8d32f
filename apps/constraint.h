#pragma once
#include <string>

#include "apps/cli/arguments.h"
#include "apps/cli/handles.h"

namespace klens::apps {

// What `generate` and `chat` share: the language that answers keep to.
OptionGroup constraint_options();  // --json-schema --grammar --json-object
bool constrained(const Arguments& arguments);
// Null if the options ask for none. Messages name the file.
GrammarHandle read_constraint(const Arguments& arguments, const klens_model* model);

}  // namespace klens::apps
