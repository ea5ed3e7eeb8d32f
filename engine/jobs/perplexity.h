#pragma once
#include "base/statistics.h"
#include "engine/jobs/progress.h"
#include "engine/jobs/text_windows.h"

namespace klens {

// nll in nats per scored token; word_ppl and bits_per_byte spread the mean nll of the scored tokens
// over all tokens of the text that the windows cover.
struct PerplexityReport {
  int64_t tokens = 0;  // scored
  size_t windows = 0;
  double nll = 0;
  MeanError ppl{};
  double word_ppl = 0, bits_per_byte = 0, tok_s = 0;
};
PerplexityReport perplexity(const Model& model, const Tokenizer& tokenizer, std::string_view text,
                            const WindowOptions& options, Progress& progress);

// Sum of -log p of the scored tokens, its squares, and their number.
struct NllSum {
  double sum = 0, squares = 0;
  int64_t tokens = 0;
};
NllSum score_windows(const Model& model, const std::vector<TextWindow>& windows,
                     Progress& progress);

}  // namespace klens
