#pragma once
#include <cstdint>
#include <optional>

#include "loaders/checkpoint.h"

namespace klens {

// Tokens that a model was trained on at once, as its config or GGUF says (max_position_embeddings,
// context_length). Nothing is computed from it, and a value that makes no sense is as good as none.
// Absent also for state spaces alone, which have no such limit.
std::optional<int64_t> context_length(const Checkpoint& checkpoint);

}  // namespace klens
