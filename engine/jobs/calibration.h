#pragma once
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/jobs/progress.h"
#include "engine/model.h"
#include "loaders/tokenizer/tokenizer.h"

namespace klens {

class Journal;

using Windows = std::vector<std::vector<int32_t>>;

// A text to calibrate on, and how many windows come from it beside those of others.
struct CalibrationText {
  std::string text;
  std::string name = "text";
  double weight = 1;
};
// What profiles say they were made from: "a.txt", or "3 a.txt + 1 b.txt".
std::string source_name(std::span<const CalibrationText> texts);

// Calibration windows of ctx tokens, and further ones to judge a plan by that nothing was chosen
// on.
struct Calibration {
  Windows windows;
  Windows held_out;  // may be empty: a text that is used up
};

// The first whole windows of a text, then held_out more, and, where the text goes on, more for
// quantizers to see: these are added to windows until those have kLeastSeenTokens, since with a
// quarter of it gptq fits the sample and loses more than search (bench/RESULTS.md). A text shorter
// than one window is one short window. Windows of several texts take turns by weight, so that any
// first few are mixed alike, until one is used up; each has one at least. Throws Error for a weight
// that is none, and a text too short for its part.
inline constexpr int64_t kLeastSeenTokens = 8192;
Calibration calibrate_on_texts(const Model& model, const Tokenizer& tokenizer,
                               std::span<const CalibrationText> texts, int64_t ctx, int64_t windows,
                               int64_t held_out);

// Sampled from the model itself, each window from a beginning-of-text token at temperature 1. For
// text that is distributed as the teacher, KL is exactly the rise of log perplexity: H(p, q) = H(p)
// + KL(p || q). Window i depends on (seed, i) alone, and is kept in the journal when it is whole.
Calibration calibrate_on_samples(const Model& model, int64_t ctx, int64_t windows, int64_t held_out,
                                 uint64_t seed, Progress& progress, Journal& journal);

}  // namespace klens
