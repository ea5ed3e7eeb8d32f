#pragma once
#include <nlohmann/json.hpp>

#include "engine/jobs/progress.h"
#include "engine/jobs/text_windows.h"

namespace klens {

// What klens_perplexity reports. nll in nats per scored token; word_ppl and bits_per_byte spread
// the mean nll of the scored tokens over all tokens of the text that the windows cover.
nlohmann::ordered_json perplexity(const Model& model, const Tokenizer& tokenizer,
                                  std::string_view text, const WindowOptions& options,
                                  Progress& progress);

// Sum of -log p of the scored tokens, its squares, and their number.
struct NllSum {
  double sum = 0, squares = 0;
  int64_t tokens = 0;
};
NllSum score_windows(const Model& model, const std::vector<TextWindow>& windows,
                     Progress& progress);

}  // namespace klens
