#pragma once
#include "apps/serve/scheduler.h"
#include "apps/serve/service.h"

namespace klens::apps {

// What requests of all kinds say of how to go on: temperature, seed, stop, n, ... into ask. What
// klens cannot do is refused, not passed over.
void read_sampling(const Fields& fields, const Service& service, Ask& ask);

// How many tokens an answer may have: `asked`, or what the server allows. Throws ApiError for a
// prompt that leaves no room.
void limit_answer(const Service& service, std::optional<int64_t> asked, const char* name, Ask& ask);

}  // namespace klens::apps
