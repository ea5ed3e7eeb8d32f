#pragma once
#include <memory>
#include <span>
#include <vector>

#include "engine/jobs/progress.h"
#include "engine/model.h"

namespace klens {

// Which of a text's hidden states its vector is made of.
enum class Pooling { kLast, kMean };

struct EmbedOptions {
  Pooling pooling = Pooling::kLast;
  bool normalise = false;  // to an L2 norm of 1; a vector of zeros stays
  int64_t batch = 512;     // tokens that one pass has room for
};

// A vector for each text, [texts][d_model]: what the head is multiplied by, pooled over the text.
// Texts share passes; each gets the bits that it would get alone. Throws Error (kBadArgument)
// before anything is computed for a text without tokens and for ids outside the vocabulary.
std::vector<float> embed(const std::shared_ptr<const Model>& model,
                         std::span<const std::span<const int32_t>> texts,
                         const EmbedOptions& options, Progress& progress);

}  // namespace klens
