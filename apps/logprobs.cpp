#include "apps/logprobs.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace klens::apps {

std::vector<Logprob> logprobs(std::span<const float> logits, int32_t id, size_t top) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - largest);
  const double log_sum = std::log(sum);
  std::vector<int32_t> ids(logits.size());
  std::iota(ids.begin(), ids.end(), 0);
  top = std::min(top, ids.size());
  std::partial_sort(ids.begin(), ids.begin() + static_cast<ptrdiff_t>(top), ids.end(),
                    [&](int32_t a, int32_t b) {
                      const float x = logits[static_cast<size_t>(a)];
                      const float y = logits[static_cast<size_t>(b)];
                      return x != y ? x > y : a < b;
                    });
  const auto of = [&](int32_t token) {
    return Logprob{token, logits[static_cast<size_t>(token)] - largest - log_sum};
  };
  std::vector<Logprob> result = {of(id)};
  for (size_t i = 0; i < top; ++i) result.push_back(of(ids[i]));
  return result;
}

}  // namespace klens::apps
