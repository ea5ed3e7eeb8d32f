#include "engine/jobs/profile_job.h"

#include <cmath>
#include <set>
#include <utility>

#include "engine/jobs/candidates.h"
#include "engine/jobs/decode_times.h"
#include "engine/jobs/forecast.h"
#include "engine/jobs/profile_state.h"
#include "engine/jobs/sensitivity.h"
#include "engine/jobs/shared_runner.h"
#include "engine/jobs/stages.h"
#include "quant/prediction.h"

namespace klens {
namespace {

// The rows of a table that a list names. Throws Error for a name that it lacks.
template <class Rows>
auto named_rows(const std::string& list, const char* what, const Rows& rows) {
  auto named = parse_names(list, what, rows);
  if (const auto* why = std::get_if<std::string>(&named))
    throw Error(ErrorKind::kBadArgument, *why);
  return std::get<0>(std::move(named));
}

using MetricSet = std::set<const Metric*>;

MetricSet parse_metrics(const std::string& list) {
  const auto named = named_rows(list, "metric", kMetrics);
  if (named.empty()) return {std::begin(kMetrics), std::end(kMetrics)};
  return {named.begin(), named.end()};
}

void keep_metrics(const MetricSet& metrics, Candidate& candidate) {
  for (const Metric* metric : kMetrics)
    if (metrics.count(metric) == 0) candidate.value(*metric).reset();
  if (metrics.count(&kKl) != 0) return;
  candidate.kl_stderr.reset();
  candidate.kl_windows.clear();
}

// What surrounds a unit that is measured, and what it is compared with: all units in the finest
// integers with the finest activations. Its noise is on both sides, and small.
struct Reference {
  PackedUnits units;  // none: the checkpoint's own
  std::vector<double> errors;
};

Choice reference_choice() {
  return {kFinestIntegers.name, kQuantizers[0].name, kFineActivationBits};
}

bool may_be_rounded(const Model& model) {
  return model.options().activations == Activations::kInt8 &&
         std::ranges::all_of(model.checkpoint().units,
                             [](const auto& unit) { return unit.second.format == nullptr; });
}

// Whether a suffix of this name is rounded. Throws Error for an unknown one.
bool rounds(const Model& model, const std::string& suffix) {
  const Suffix* row = suffix.empty() ? &kExactSuffix : find_row(kSuffixes, suffix);
  if (row == nullptr) throw Error(ErrorKind::kBadArgument, not_one_of("suffix", suffix, kSuffixes));
  return row->rounded && may_be_rounded(model);
}

Reference reference_of(const Model& model, const std::string& suffix, const Quantizer& quantizer,
                       const UnitInputs& inputs, Progress& progress, Journal& journal) {
  Reference reference;
  if (!rounds(model, suffix)) return reference;
  const Choice choice = reference_choice();
  progress.stage(stages::kRound, static_cast<double>(model.units().size()));
  for (size_t u = 0; u < model.units().size(); ++u) {
    const StoredUnit& unit = model.checkpoint().units.at(model.units()[u].name);
    auto packed = std::make_unique<PackedUnit>(
        PackedUnit{quantise_unit(unit, choice), choice.activation_bits});
    reference.errors.push_back(
        sampled_error(model, u, choice, inputs.of(u, quantizer.sees), journal));
    reference.units.push_back(std::move(packed));
    progress.step();
  }
  return reference;
}

// The profile as some windows tell it, of all that were measured.
Profile filled_in(const Scores& scores, const Scores& all, const Prepared& prepared, int64_t vocab,
                  const MetricSet& metrics) {
  Profile profile = prepared.profile;
  for (Unit& unit : profile.units)
    for (Candidate& candidate : unit.candidates)
      if (candidate.others[kOutputError] == 0.0) set_exact(candidate, scores.windows.size());
  const std::vector<double> shares = window_shares(scores);
  for (size_t s = 0; s < prepared.students.size(); ++s) {
    const auto [u, c] = prepared.places[s];
    summarise(scores, s, vocab, profile.units[u].candidates[c]);
    carry_over(scores, shares, s, profile.units[u].candidates[c]);
  }
  for (size_t s = 0; s < prepared.students.size(); ++s) {
    const Student& student = prepared.students[s];
    if (!student.like) continue;
    const auto [u, c] = prepared.places[s];
    extend(all, s, student, profile.units[u].candidates[prepared.places[*student.like].second],
           profile.units[u].candidates[c]);
  }
  for (size_t u = 0; u < prepared.reference.size(); ++u)
    take_out_reference(profile.units[u], reference_choice(), prepared.reference[u]);
  for (Unit& unit : profile.units) predict_kls(unit);
  for (Unit& unit : profile.units)
    for (Candidate& candidate : unit.candidates) keep_metrics(metrics, candidate);
  profile.windows = static_cast<int64_t>(scores.windows.size());
  profile.tokens = 0;
  for (const WindowScore& base : scores.base) profile.tokens += base.positions;
  return profile;
}

// Whether a unit's students all ran, but for those that follow another.
bool knows(const Scores& scores, std::span<const Student> students, size_t unit) {
  for (size_t s = 0; s < students.size(); ++s)
    if (students[s].unit == unit && !students[s].like &&
        std::ranges::all_of(scores.windows, [&](const std::vector<WindowScore>& window) {
          return window[s].positions == 0;
        }))
      return false;
  return true;
}

SoFar so_far(const Scores& scores, const Prepared& prepared, int64_t vocab,
             const MetricSet& metrics) {
  SoFar found;
  found.all = filled_in(scores, scores, prepared, vocab, metrics);
  for (const size_t first : {0, 1}) {
    found.halves[first] = found.all;
    if (scores.windows.size() < 2) continue;
    const Scores half = scores.half(first);
    Profile told = filled_in(half, scores, prepared, vocab, metrics);
    for (size_t u = 0; u < told.units.size(); ++u)
      if (knows(half, prepared.students, u))
        found.halves[first].units[u] = std::move(told.units[u]);
  }
  return found;
}

Calibration calibrate(const Model& model, const Tokenizer* tokenizer, const ProfileOptions& options,
                      Progress& progress, Journal& journal) {
  if (options.ctx < 2)
    throw Error(ErrorKind::kBadArgument, "-c must be at least 2: one token and its next");
  if (options.windows < 1) throw Error(ErrorKind::kBadArgument, "--windows must be at least 1");
  if (options.texts.empty())
    return calibrate_on_samples(model, options.ctx, options.windows, options.held_out, options.seed,
                                progress, journal);
  if (tokenizer == nullptr)
    throw Error(ErrorKind::kBadFile, model.checkpoint().path +
                                         ": holds no tokenizer.json, so a text cannot be used; "
                                         "leave out -f to calibrate on samples of the model");
  return calibrate_on_texts(model, *tokenizer, options.texts, options.ctx, options.windows,
                            options.held_out);
}

// What is asked for of units whatever they become.
void measure_units(const Model& model, const MetricSet& metrics,
                   std::span<const std::vector<int32_t>> windows, int64_t spare_bytes,
                   Progress& progress, Journal& journal, Profile& profile) {
  for (const Metric* metric : metrics)
    if (metric->of_weights != nullptr)
      for (Unit& unit : profile.units)
        unit.weights[*metric] = metric->of_weights(model.checkpoint().units.at(unit.name).view);
  if (metrics.count(&kSensitivity) == 0) return;
  const auto found = measure_sensitivity(model, windows, spare_bytes, progress, journal);
  for (size_t u = 0; u < found.size(); ++u) profile.units[u].weights[kSensitivity] = found[u];
}

// The work of a profile, as students come to rest and windows are added to those that were likely.
class Course {
 public:
  // likely: of `windows`; 0: all. Runner and students outlive this.
  Course(const StudentRunner& runner, std::span<const Student> students, size_t windows,
         int64_t likely)
      : runner_(runner),
        students_(students),
        windows_(windows),
        promised_(likely == 0 ? windows : std::min(windows, static_cast<size_t>(likely))) {
    for (size_t w = 0; w < windows; ++w) all_steps_ += window_steps(w, {});
  }

  // To be called before anything rests after the window.
  void end_window(const Scores& scores) {
    ended_steps_ += window_steps(ended_++, scores);
    if (ended_ >= promised_) promised_ = std::min(windows_, 2 * promised_);
  }

  // In multiply-adds per token: all that was done and is to come.
  double steps(const Scores& scores) const {
    double steps = ended_steps_;
    for (size_t w = ended_; w < promised_; ++w) steps += window_steps(w, scores);
    return steps;
  }

  // Of what all windows would take.
  double share() const { return ended_steps_ / all_steps_; }

 private:
  double window_steps(size_t w, const Scores& scores) const {
    double steps = 0;
    for (size_t s = 0; s < students_.size(); ++s)
      if (w % students_[s].every == 0 && !scores.rests(s)) steps += runner_.cost(students_[s]);
    return steps;
  }

  const StudentRunner& runner_;
  std::span<const Student> students_;
  size_t windows_, promised_, ended_ = 0;
  double ended_steps_ = 0, all_steps_ = 0;
};

void rest_settled(const Verdict& verdict, std::span<const Student> students, StudentRunner& runner,
                  Scores& scores) {
  scores.resting.resize(students.size());
  for (size_t s = 0; s < students.size(); ++s) {
    if (verdict.settled.empty() || !verdict.settled[students[s].unit] || scores.resting[s])
      continue;
    scores.resting[s] = true;
    runner.let_go(students[s]);
  }
}

// After one round others may be chosen, and these are checked too.
constexpr int kCheckRounds = 2;

// Measures what is chosen and was predicted, where what it is next to was measured and the finest
// were. Few windows tell much where predictions are off by far, as some of wiki-zamba2's are, and
// add noise where they are good, as SmolLM2's: so refine() measures both plans.
class Checks {
 public:
  Checks(SharedRunner& shared, const StudentRunner& runner, JournalScores& kept,
         const Windows& windows, Progress& progress)
      : shared_(shared), runner_(runner), kept_(kept), windows_(windows), progress_(progress) {}

  // profile: as students and scores tell it, which `now` gives, and then with the checks. Returns
  // what choices measured, over what they were predicted to.
  std::vector<double> run(const std::function<std::optional<Plan>(const Profile&)>& plan,
                          const std::function<Profile()>& now, Prepared& prepared, Scores& scores,
                          Profile& profile) {
    std::vector<double> ratios;
    for (int round = 0; round < kCheckRounds; ++round) {
      const std::optional<Plan> made = plan(profile);
      if (!made) break;
      const size_t first = prepared.students.size();
      for (const auto& [u, c] : predicted_choices(profile, *made)) add(u, c, profile, prepared);
      if (prepared.students.size() == first) break;
      measure(prepared.students, first, scores);
      const Profile before = std::exchange(profile, now());
      for (size_t s = first; s < prepared.students.size(); ++s) {
        const auto [u, c] = prepared.places[s];
        const double was = *before.units[u].candidates[c].kl;
        if (was > 0) ratios.push_back(profile.units[u].candidates[c].kl.value_or(was) / was);
      }
    }
    return ratios;
  }

 private:
  // Whether it hardly differs from what it would be compared with.
  static bool hidden(size_t u, const Candidate& candidate, const Prepared& prepared) {
    constexpr double kClearly = 4;
    return !prepared.reference.empty() && !rounds_activations(candidate.choice) &&
           *candidate.others[kOutputError] < kClearly * prepared.reference[u];
  }

  static void add(size_t u, size_t c, const Profile& profile, Prepared& prepared) {
    const auto like = std::ranges::find_if(
        prepared.students, [&](const Student& s) { return s.unit == u && !s.like; });
    if (like == prepared.students.end() || hidden(u, profile.units[u].candidates[c], prepared))
      return;
    prepared.students.push_back({u, profile.units[u].candidates[c].choice, kFinestEvery,
                                 static_cast<size_t>(like - prepared.students.begin())});
    prepared.places.emplace_back(u, c);
  }

  // Students from `first` on.
  void measure(const std::vector<Student>& students, size_t first, Scores& scores) {
    double steps = 0, done = 0;
    std::vector<std::vector<size_t>> of_window(scores.windows.size());
    for (size_t w = 0; w < scores.windows.size(); w += kFinestEvery) {
      scores.windows[w].resize(students.size());
      for (size_t s = first; s < students.size(); ++s) {
        if (scores.windows[w][*students[s].like].positions == 0) continue;
        of_window[w].push_back(s);
        steps += runner_.cost(students[s]);
        if (kept_.find(windows_[w], &students[s])) done += runner_.cost(students[s]);
      }
    }
    for (std::vector<WindowScore>& window : scores.windows) window.resize(students.size());
    progress_.stage(stages::kCheck, steps, done);
    for (size_t w = 0; w < of_window.size(); ++w) {
      if (of_window[w].empty()) continue;
      std::vector<Student> some;
      for (const size_t s : of_window[w]) some.push_back(students[s]);
      Scores found;
      profile_windows(
          shared_, {&windows_[w], 1}, some,
          [&](const Student& student) { progress_.step(runner_.cost(student)); },
          [] { return true; }, &kept_, found);
      for (size_t i = 0; i < some.size(); ++i)
        scores.windows[w][of_window[w][i]] = found.windows[0][i];
    }
  }

  SharedRunner& shared_;
  const StudentRunner& runner_;
  JournalScores& kept_;
  const Windows& windows_;
  Progress& progress_;
};

int64_t positions_in(std::span<const std::vector<int32_t>> windows) {
  size_t positions = 0;
  for (const std::vector<int32_t>& window : windows) positions += window.size();
  return static_cast<int64_t>(positions);
}

}  // namespace

std::vector<const Format*> parse_formats(const std::string& list) {
  std::vector<const Format*> formats =
      named_rows(list.empty() ? default_formats() : list, "format", kFormats);
  if (formats.empty())
    throw Error(ErrorKind::kBadArgument,
                "formats \"" + list + "\" names none of " + names_of(kFormats));
  std::erase(formats, &kBaseFormat);
  formats.insert(formats.begin(), &kBaseFormat);
  return formats;
}

ProfileRun run_profile(const Model& model, const Tokenizer* tokenizer,
                       const ProfileOptions& options, Progress& progress, const Judge& judge,
                       Journal& journal) {
  const MetricSet metrics = parse_metrics(options.metrics);
  const std::vector<const Format*> formats = parse_formats(options.formats);
  const Quantizer& quantizer = parse_quantizer(options.quantizer);
  Calibration calibration;
  ProfileOptions known = options;  // of a text that is shorter than it might be
  if (!options.texts.empty()) {
    calibration = calibrate(model, tokenizer, options, progress, journal);
    known.windows = static_cast<int64_t>(calibration.windows.size());
    known.ctx = static_cast<int64_t>(calibration.windows.front().size());
  }
  Expected expected =
      expect_profile(model, known, quantizer, formats.size(), rounds(model, options.suffix),
                     metrics.count(&kSensitivity) != 0);
  progress.expect(std::move(expected.forecast));
  const int64_t spare = expected.spare;
  if (options.texts.empty()) calibration = calibrate(model, tokenizer, options, progress, journal);
  UnitInputs inputs(model, calibration.seen, quantizer.sees, progress, spare, journal.bytes());
  Reference reference = reference_of(model, options.suffix, quantizer, inputs, progress, journal);
  Prepared prepared = prepare(
      model,
      candidate_choices(model, formats, quantizer, options.pinned, inputs, progress, journal),
      static_cast<size_t>(options.measured), !reference.units.empty(), options.likely != 0);
  prepared.reference = std::move(reference.errors);
  if (!reference.units.empty()) prepared.profile.suffix = options.suffix;
  Profile& profile = prepared.profile;
  profile.checkpoint_xxh3 = checkpoint_xxh3(model.checkpoint());
  profile.calibration_source = options.texts.empty() ? kSampledSource : source_name(options.texts);
  profile.window = known.ctx;
  profile.seed = options.seed;
  const Windows& windows = calibration.windows;
  if (options.times) measure_decode_times(model, profile, progress);
  measure_units(model, metrics, windows, spare, progress, journal, profile);
  Scores scores;
  StudentRunner runner(model, reference.units.empty() ? nullptr : &reference.units, inputs,
                       StudentRunner::Judge::kBase);
  runner.keep_packed(spare);
  runner.keep_largest(tail_length(positions_in(windows)));
  JournalScores kept(journal, nullptr);
  Course course(runner, prepared.students, windows.size(), options.likely);
  double done = 0;
  for (const auto& window : windows)
    for (const Student& student : prepared.students)
      if (kept.find(window, &student)) done += runner.cost(student);
  progress.stage(stages::kProfile, course.steps(scores), done);
  SharedRunner shared(runner, journal, kept);
  const auto after_window = [&] {
    course.end_window(scores);
    if (!judge) return true;
    SoFar found = so_far(scores, prepared, model.spec().vocab, metrics);
    found.share = course.share();
    const Verdict verdict = judge(found);
    rest_settled(verdict, prepared.students, runner, scores);
    progress.expect_steps(course.steps(scores));
    return !verdict.ended;
  };
  profile_windows(
      shared, windows, prepared.students,
      [&](const Student& student) { progress.step(runner.cost(student)); }, after_window, &kept,
      scores);
  const auto now = [&] { return filled_in(scores, scores, prepared, model.spec().vocab, metrics); };
  Profile found = now();
  std::vector<double> checked;
  std::optional<Profile> unchecked;
  if (options.plan) {
    unchecked = found;
    checked = Checks(shared, runner, kept, windows, progress)
                  .run(options.plan, now, prepared, scores, found);
  }
  return {.profile = std::move(found),
          .calibration = std::move(calibration),
          .inputs = std::move(inputs),
          .students = std::move(prepared.students),
          .spare_bytes = spare,
          .checked = std::move(checked),
          .unchecked = std::move(unchecked)};
}

ProfileRun run_profile(const Model& model, const Tokenizer* tokenizer,
                       const ProfileOptions& options, Progress& progress, const Judge& judge) {
  const std::unique_ptr<Journal> journal = open_journal(model, options);
  return run_profile(model, tokenizer, options, progress, judge, *journal);
}

}  // namespace klens
