#pragma once
#include <array>
#include <iterator>

#include "base/statistics.h"
#include "engine/jobs/progress.h"
#include "engine/jobs/text_windows.h"

namespace klens {

// Percentiles by linear interpolation, and what their keys end in.
struct Percentile {
  const char* name;
  double percent;
};
inline constexpr Percentile kPercentiles[] = {
    {"_min", 0},  {"_p0_1", 0.1},  {"_p1", 1},   {"_p5", 5},   {"_p10", 10},
    {"_p25", 25}, {"_p50", 50},    {"_p75", 75}, {"_p90", 90}, {"_p95", 95},
    {"_p99", 99}, {"_p999", 99.9}, {"_max", 100}};
using Percentiles = std::array<double, std::size(kPercentiles)>;

// b against a. KL is over every position, the rest over those with a next token.
struct CompareReport {
  MeanError kl{};  // nats per token
  Percentiles kl_percentiles{};
  MeanError top1_agreement{};  // share of positions whose largest logit is the same
  MeanError ppl_a{}, ppl_b{};
  double ln_ppl_correlation = 0;
  MeanError ln_ppl_ratio{}, ppl_ratio{}, ppl_difference{};
  MeanError delta_p{}, delta_p_rms{};  // p_b(next) - p_a(next)
  Percentiles delta_p_percentiles{};
  size_t tokens = 0, windows = 0;
  double tok_s = 0;
};

// Window by window, both run side by side. Throws Error if the vocabularies differ.
CompareReport compare(const Model& a, const Model& b, const Tokenizer& tokenizer,
                      std::string_view text, const WindowOptions& options, Progress& progress);

}  // namespace klens
