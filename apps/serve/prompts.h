#pragma once
#include <cstdint>
#include <vector>

#include "apps/serve/service.h"

namespace klens::apps {

// The texts of a field, prompt or input, as tokens: a text, a list of ids, or a list of those.
// Throws ApiError for what is not in the vocabulary, for none, and for too many.
std::vector<std::vector<int32_t>> read_texts(const Service& service, const Fields& fields,
                                             const char* name);

}  // namespace klens::apps
