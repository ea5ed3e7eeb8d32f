#pragma once
#include <cstdint>
#include <span>
#include <vector>

namespace klens::apps {

// What the model itself gave a token, before temperature and all else that a sampler does.
struct Logprob {
  int32_t id = 0;
  double value = 0;  // natural logarithm of its probability
};

// Of `id` first, then of the `top` likeliest, the smaller id on ties. logits: [vocab].
std::vector<Logprob> logprobs(std::span<const float> logits, int32_t id, size_t top);

}  // namespace klens::apps
