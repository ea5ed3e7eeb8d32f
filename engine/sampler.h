#pragma once
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <random>
#include <span>
#include <vector>

#include "loaders/grammar/matcher.h"

namespace klens {

struct SamplerOptions {
  float temperature = 0;     // 0: greedy
  int32_t top_k = 0;         // 0: all
  float top_p = 1;           // 1: all
  float min_p = 0;           // 0: all
  float repeat_penalty = 1;  // 1: off
  int32_t repeat_last_n = 64;
  uint64_t seed = 0;
};

// Chooses tokens: repeat penalty, top-k, top-p, min-p, temperature, draw, in this order
// (llama.cpp's). One sequence's; the same seed and logits give the same choices.
class Sampler {
 public:
  explicit Sampler(const SamplerOptions& options);

  // Ids from `size` on and those of `holes` are never chosen: the tokenizer has no token for them.
  void restrict_to(size_t size, std::vector<int32_t> holes);
  // Only what keeps the text of the tokens chosen from now on within the constraint is chosen;
  // null: anything is.
  void constrain(std::shared_ptr<const grammar::Constraint> constraint);
  const std::optional<grammar::Matcher>& matcher() const { return matcher_; }
  void accept(int32_t id);  // counts id as recent
  // From finite logits [vocab]; counts its choice as recent. Throws Error if a constraint allows
  // none.
  int32_t sample(std::span<const float> logits);

 private:
  struct Entry {
    int32_t id;
    float logit;
    double weight;  // exp(logit - largest), then of the tempered logit
  };
  void penalise();
  void forbid();
  void keep_allowed();
  void take_likeliest(size_t count);
  void cut();
  int32_t draw();

  SamplerOptions options_;
  std::mt19937_64 random_;
  std::deque<int32_t> recent_;
  size_t size_ = SIZE_MAX;
  std::vector<int32_t> holes_;
  std::optional<grammar::Matcher> matcher_;
  std::vector<uint64_t> allowed_;  // a bit for each id
  std::vector<float> logits_;      // [vocab], penalised
  std::vector<Entry> entries_;     // those to draw from, likeliest first
};

}  // namespace klens
