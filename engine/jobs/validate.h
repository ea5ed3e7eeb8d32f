#pragma once
#include <optional>
#include <string>
#include <vector>

#include "base/statistics.h"
#include "engine/jobs/profile_job.h"

namespace klens {

// How well a profile's metrics rank units by what quantising each does to other text.

// What a measured candidate does there, alone in the model. KL is nats per token; perplexities are
// over tokens with a next one.
struct ValidatedCandidate {
  std::string unit;
  Choice choice;
  double ppl = 0, delta_ce = 0, kl = 0;
};

// Kendall's tau-b, and where it lies over draws of the text's windows.
struct Agreement {
  std::optional<double> tau;
  std::optional<Interval> interval;
};

// Of units in one format, with or without the head. A metric that falls where another rises is
// counted the other way round, so that 1 is the same order.
struct MetricAgreement {
  std::string format;
  bool with_head = false;
  const Metric* metric = nullptr;
  size_t units = 0;   // that have the metric
  Agreement ppl, kl;  // with the student's perplexity, and with its KL
};

inline constexpr size_t kBootstrapDraws = 1000;

struct Validation {
  std::string source;  // the text's name
  size_t windows = 0;
  int64_t tokens = 0;
  uint64_t seed = 0;
  double ppl = 0;  // of the model itself
  std::vector<ValidatedCandidate> candidates;
  std::vector<MetricAgreement> agreements;
};

// The first windows of a text, as long as the profile's and at most as many. Throws Error for a
// text of fewer than two.
Windows validation_windows(const Model& model, const Tokenizer& tokenizer, std::string_view text,
                           const ProfileOptions& options);

// Over these windows, all of one length. Candidates are those that the run measured. What the
// journal has is not measured again.
Validation validate(const Model& model, const ProfileRun& run, const Windows& windows,
                    const std::string& source, Progress& progress, Journal& journal);

}  // namespace klens
