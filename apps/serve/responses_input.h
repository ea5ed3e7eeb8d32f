#pragma once
#include "apps/serve/fields.h"
#include "apps/serve/tools.h"

namespace klens::apps {

// What a request to /v1/responses holds, as one to /v1/chat/completions would hold it. All of the
// conversation is in the request: the server keeps none.

// instructions and input as messages. Throws ApiError.
Json messages_of_input(const Fields& fields);
// The functions among its tools; other kinds, which the server would have to run, are left out.
Tools tools_of_input(const Fields& fields);

}  // namespace klens::apps
