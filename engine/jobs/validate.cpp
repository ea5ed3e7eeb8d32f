#include "engine/jobs/validate.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "engine/jobs/profile_state.h"
#include "engine/jobs/shared_runner.h"
#include "engine/jobs/text_windows.h"

namespace klens {
namespace {

const Candidate& candidate_of(const ProfileRun& run, const Student& student) {
  const std::vector<Candidate>& all = run.profile.units[student.unit].candidates;
  return *std::ranges::find(all, student.choice, &Candidate::choice);
}

// What was measured of a student, whatever it is of.
const std::optional<double>& value_of(const ProfileRun& run, const Student& student,
                                      const Metric& metric) {
  return metric.of_candidates() ? candidate_of(run, student).value(metric)
                                : run.profile.units[student.unit].weights[metric];
}

// What students do to the text, window by window: [window][student].
struct Truth {
  std::vector<std::vector<double>> ce, kl;
};

Truth truth_of(const Scores& scores) {
  Truth truth;
  for (const std::vector<WindowScore>& window : scores.windows) {
    std::vector<double>&ce = truth.ce.emplace_back(), &kl = truth.kl.emplace_back();
    for (const WindowScore& score : window) {
      ce.push_back(score.per_label(score.ce));
      kl.push_back(score.per_position(score.kl));
    }
  }
  return truth;
}

// values: a metric's, of these students. Windows are of one length, so that their means add up.
// Perplexity is e to the power of the mean cross entropy: the same order.
Agreement agreement(const std::vector<std::vector<double>>& truth,
                    const std::vector<size_t>& students, const std::vector<double>& values,
                    uint64_t seed) {
  const auto tau = [&](std::span<const size_t> windows) {
    std::vector<double> sums(students.size());
    for (const size_t w : windows)
      for (size_t i = 0; i < students.size(); ++i) sums[i] += truth[w][students[i]];
    return kendall_tau_b(values, sums);
  };
  std::vector<size_t> all(truth.size());
  std::iota(all.begin(), all.end(), size_t{0});
  return {tau(all), bootstrap_interval(truth.size(), kBootstrapDraws, seed, tau)};
}

MetricAgreement agreement_of(const Metric& metric, const std::string& format, bool with_head,
                             const Model& model, const ProfileRun& run, const Truth& truth) {
  std::vector<size_t> students;
  std::vector<double> values;
  for (size_t s = 0; s < run.students.size(); ++s) {
    const Student& student = run.students[s];
    if (format_text(student.choice) != format) continue;
    if (!with_head && model.units()[student.unit].matrix == model.spec().head) continue;
    const std::optional<double>& value = value_of(run, student, metric);
    if (!value || std::isnan(*value)) continue;
    students.push_back(s);
    values.push_back(metric.better == Better::kHigher ? -*value : *value);
  }
  return {.format = format,
          .with_head = with_head,
          .metric = &metric,
          .units = students.size(),
          .ppl = agreement(truth.ce, students, values, run.profile.seed),
          .kl = agreement(truth.kl, students, values, run.profile.seed)};
}

std::vector<std::string> formats_of(const ProfileRun& run) {
  std::vector<std::string> formats;
  for (const Student& student : run.students) {
    const std::string format = format_text(student.choice);
    if (student.choice.format != kBaseFormat.name &&
        std::ranges::find(formats, format) == formats.end())
      formats.push_back(format);
  }
  return formats;
}

}  // namespace

Windows validation_windows(const Model& model, const Tokenizer& tokenizer, std::string_view text,
                           const ProfileOptions& options) {
  const std::vector<int32_t> ids = text_ids(model, tokenizer, text);
  const auto ctx = static_cast<size_t>(options.ctx);
  const size_t count = std::min(ids.size() / ctx, static_cast<size_t>(options.windows));
  if (count < 2)
    throw Error(ErrorKind::kBadArgument, "the text to validate on has fewer than two windows of " +
                                             std::to_string(options.ctx) +
                                             " tokens; give a longer one, or a smaller -c");
  Windows windows;
  for (size_t w = 0; w < count; ++w) {
    const auto first = ids.begin() + static_cast<std::ptrdiff_t>(w * ctx);
    windows.emplace_back(first, first + static_cast<std::ptrdiff_t>(ctx));
  }
  return windows;
}

Validation validate(const Model& model, const ProfileRun& run, const Windows& windows,
                    const std::string& source, Progress& progress, Journal& journal) {
  std::vector<Student> students = run.students;
  for (Student& student : students) student.every = 1;
  StudentRunner runner(model, nullptr, run.inputs);
  runner.keep_packed(run.spare_bytes);
  JournalScores kept(journal, nullptr);
  SharedRunner shared(runner, journal, kept);
  Scores scores;
  progress.stage("validate", static_cast<double>(students.size() * windows.size()));
  profile_windows(
      shared, windows, students, [&](const Student&) { progress.step(); }, [] { return true; },
      &kept, scores);

  Validation result{.source = source,
                    .windows = windows.size(),
                    .seed = run.profile.seed,
                    .candidates = {},
                    .agreements = {}};
  WindowScore base;
  for (const WindowScore& window : scores.base) base += window;
  result.tokens = base.positions;
  result.ppl = std::exp(base.per_label(base.ce));
  for (size_t s = 0; s < students.size(); ++s) {
    WindowScore sum;
    for (const std::vector<WindowScore>& window : scores.windows) sum += window[s];
    result.candidates.push_back({.unit = run.profile.units[students[s].unit].name,
                                 .choice = students[s].choice,
                                 .ppl = std::exp(sum.per_label(sum.ce)),
                                 .delta_ce = sum.per_label(sum.delta_ce),
                                 .kl = sum.per_position(sum.kl)});
  }
  const Truth truth = truth_of(scores);
  for (const std::string& format : formats_of(run))
    for (const bool with_head : {false, true})
      for (const Metric* metric : kMetrics) {
        MetricAgreement found = agreement_of(*metric, format, with_head, model, run, truth);
        if (found.units > 1) result.agreements.push_back(std::move(found));
      }
  return result;
}

}  // namespace klens
