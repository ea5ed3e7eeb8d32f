#pragma once
#include <cstdint>
#include <span>
#include <vector>

namespace klens {

// A draft of what follows a text: what followed the last place where the text's end stood before,
// of all such places one where the most tokens before agree. None where fewer than two do, one
// where two do, and two more for each further one, but at most `most`.
std::vector<int32_t> ngram_draft(std::span<const int32_t> text, size_t most);

}  // namespace klens
