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

// Calibration windows of ctx tokens.
struct Calibration {
  Windows windows;  // that candidates are measured on
  // That quantizers see: others, since gptq fits what it sees, and loses there a quarter to a third
  // less than elsewhere (bench/RESULTS.md).
  Windows seen;
  Windows held_out;  // to judge a plan by; may be empty: a text that is used up
};

// The first whole windows of a text; then those that quantizers see, as many, but at least
// kLeastSeenTokens, since with a quarter of it gptq loses more than search; then held_out more. Of
// a text that is used up held_out comes before what is seen, and what is measured is seen too. A
// text shorter than one window is one short window. Windows of several texts take turns by weight,
// so that any first few are mixed alike, until one is used up; each has one at least. Throws Error
// for a weight that is none, and a text too short, or too light, for a window.
inline constexpr int64_t kLeastSeenTokens = 8192;
Calibration calibrate_on_texts(const Model& model, const Tokenizer& tokenizer,
                               std::span<const CalibrationText> texts, int64_t ctx, int64_t windows,
                               int64_t held_out);

// Sampled from the model itself, each window from a beginning-of-text token at temperature 1. For
// text that is distributed as the teacher, KL is exactly the rise of log perplexity: H(p, q) = H(p)
// + KL(p || q). Window i depends on (seed, i) alone, and is kept in the journal when it is whole.
Windows sample_windows(const Model& model, int64_t ctx, int64_t count, uint64_t seed,
                       Progress& progress, Journal& journal);
// Such windows, as many more that quantizers see, and held_out.
Calibration calibrate_on_samples(const Model& model, int64_t ctx, int64_t windows, int64_t held_out,
                                 uint64_t seed, Progress& progress, Journal& journal);

}  // namespace klens
