#include "engine/ngram.h"

#include <algorithm>

namespace klens {

std::vector<int32_t> ngram_draft(std::span<const int32_t> text, size_t most) {
  constexpr size_t kLeast = 2, kEnough = 16, kLookBack = 1 << 16;
  const size_t size = text.size();
  size_t best = 0, at = 0;  // tokens that agree, and where the text goes on
  for (size_t next = size; next-- > 1 && size - next <= kLookBack && best < kEnough;) {
    if (text[next - 1] != text[size - 1]) continue;
    size_t agree = 1;
    while (agree < kEnough && agree < next && text[next - 1 - agree] == text[size - 1 - agree])
      ++agree;
    if (agree <= best) continue;
    best = agree;
    at = next;
  }
  if (best < kLeast) return {};
  // The more agree, the likelier is what followed; a wrong draft costs an eighth of a pass and
  // more.
  const size_t worth = 2 * best - 3;
  const std::span<const int32_t> draft = text.subspan(at, std::min({most, worth, size - at}));
  return {draft.begin(), draft.end()};
}

}  // namespace klens
