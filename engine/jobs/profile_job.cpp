#include "engine/jobs/profile_job.h"

#include <cmath>
#include <set>

#include "engine/jobs/candidates.h"
#include "engine/jobs/decode_times.h"
#include "engine/jobs/forecast.h"
#include "engine/jobs/profile_state.h"
#include "engine/jobs/sensitivity.h"
#include "engine/jobs/shared_runner.h"
#include "engine/jobs/stages.h"
#include "loaders/klens_file.h"
#include "quant/planner.h"
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

// A unit that becomes what it is, and FP16 storage of FP16 weights, change nothing: there is
// nothing to measure.
bool lossless(const StoredUnit& unit, const Choice& choice) {
  return is_as_stored(unit, choice) ||
         (find_format(choice.format)->layout == Layout::kTilesF16 &&
          (unit.view.layout == Layout::kRowsF16 || unit.view.layout == Layout::kTilesF16));
}

void set_exact(Candidate& candidate, size_t windows) {
  for (const Metric* metric : kMetrics) candidate.value(*metric) = metric->lossless;
  candidate.kl_stderr = 0;
  candidate.kl_windows.assign(windows, 0.0);
}

void keep_metrics(const MetricSet& metrics, Candidate& candidate) {
  for (const Metric* metric : kMetrics)
    if (metrics.count(metric) == 0) candidate.value(*metric).reset();
  if (metrics.count(&kKl) != 0) return;
  candidate.kl_stderr.reset();
  candidate.kl_windows.clear();
}

template <class Rows>
std::string longest_name(const Rows& rows) {
  std::string longest;
  for (const auto& row : rows)
    if (longest.size() < std::string_view(row.name).size()) longest = row.name;
  return longest;
}

// A plan whose header is as long as any plan's: the longest names for each unit, all digits used.
Plan longest_plan(const Model& model) {
  constexpr double kLongest = -1.2345678901234567e-100;
  Plan plan{.method = longest_name(kPlanMethods),
            .budget = std::string(64, 'x'),
            .bytes = INT64_MIN,
            .bpw = kLongest,
            .predicted_kl = kLongest,
            .measured_kl = kLongest,
            .measured_kl_stderr = kLongest,
            .predicted_tok_s = kLongest,
            .optimality_gap = kLongest,
            .units = {}};
  for (const LinearSpec& unit : model.units())
    plan.units[unit.name] = {longest_name(kFormats), longest_name(kQuantizers),
                             kFineActivationBits};
  return plan;
}

struct Prepared {
  Profile profile;
  std::vector<Student> students;
  std::vector<std::pair<size_t, size_t>> places;  // of students: unit, candidate
  std::vector<double> reference;  // output errors of units that candidates are compared with, or
                                  // none: they are the checkpoint's
};

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
                       const UnitInputs& inputs, Progress& progress) {
  Reference reference;
  if (!rounds(model, suffix)) return reference;
  const Choice choice = reference_choice();
  progress.stage(stages::kRound, static_cast<double>(model.units().size()));
  for (size_t u = 0; u < model.units().size(); ++u) {
    const StoredUnit& unit = model.checkpoint().units.at(model.units()[u].name);
    auto packed = std::make_unique<PackedUnit>(
        PackedUnit{quantise_unit(unit, choice), choice.activation_bits});
    reference.errors.push_back(sampled_error(unit, choice, inputs.of(u, quantizer.sees)));
    reference.units.push_back(std::move(packed));
    progress.step();
  }
  return reference;
}

const Quantizer& parse_quantizer(const std::string& name) {
  const Quantizer* row = find_row(kQuantizers, name);
  if (row == nullptr)
    throw Error(ErrorKind::kBadArgument, not_one_of("quantizer", name, kQuantizers));
  return *row;
}

// What loses least is measured less often than what loses most: that only tells what activations
// lose, which is a small part of most plans.
constexpr size_t kFinestEvery = 4;

// errors: of the unit's candidates that can be measured, else 0. It is measured on one window of
// `every`.
void add_students(size_t u, const Unit& unit, std::span<const double> errors, size_t measured,
                  size_t every, Prepared& prepared) {
  const std::vector<size_t> picked = worth_measuring(errors, measured);
  const auto error_of = [&](size_t c) { return errors[c]; };
  const size_t first = prepared.students.size();
  for (const size_t c : picked) {
    prepared.students.push_back({u, unit.candidates[c].choice, every});
    prepared.places.emplace_back(u, c);
  }
  if (measured == 0 || picked.size() < 2) return;
  const auto at = [&](auto found) { return first + static_cast<size_t>(found - picked.begin()); };
  Student& finest = prepared.students[at(std::ranges::min_element(picked, {}, error_of))];
  finest.every = kFinestEvery;
  finest.like = at(std::ranges::max_element(picked, {}, error_of));
}

// A profile of units with these candidates, and the students to measure, for each unit `measured`
// at most (0: all); those that are integers, where what they are compared with is. spare: small
// units on fewer windows.
Prepared prepare(const Model& model, const std::vector<std::vector<Possible>>& possible,
                 size_t measured, bool rounded = false, bool spare = false) {
  const Checkpoint& checkpoint = model.checkpoint();
  Prepared result;
  Profile& profile = result.profile;
  profile.model_name = checkpoint.name;
  profile.architecture = checkpoint.spec.architecture;
  profile.parameters = checkpoint.spec.parameters();
  profile.activations = activations_name(model.options().activations);
  profile.fixed_bytes = static_cast<int64_t>(klens_fixed_bytes(checkpoint));
  int64_t provenance = 1024;  // more than quantize ever writes there, but for the source's own
  for (const auto& [key, value] : checkpoint.provenance)
    provenance += static_cast<int64_t>(2 * (key.size() + value.size()) + 32);
  profile.header_bytes = static_cast<int64_t>(klens_header_bytes(
                             checkpoint, {.plan = longest_plan(model), .provenance = {}})) +
                         provenance;
  const double mean = mean_weights(model);
  for (size_t u = 0; u < model.units().size(); ++u) {
    const LinearSpec& spec = model.units()[u];
    Unit unit{.name = spec.name,
              .kind = spec.kind,
              .block = spec.block,
              .rows = spec.rows,
              .cols = spec.cols,
              .weights = {},
              .candidates = {}};
    const StoredUnit& stored = checkpoint.units.at(spec.name);
    std::vector<double> errors;  // of those that can be measured
    for (const auto& [choice, error] : possible[u]) {
      Candidate candidate;
      candidate.choice = choice;
      candidate.bytes =
          static_cast<int64_t>(packed_bytes(*find_format(choice.format), spec.rows, spec.cols));
      candidate.others[kOutputError] = lossless(stored, choice) ? 0 : error;
      // What exact activations save follows from what those of 8 bits lose.
      const bool measurable = measured == 0 && !rounded
                                  ? choice.activation_bits == Choice().activation_bits
                                  : rounds_activations(choice);
      errors.push_back(measurable ? *candidate.others[kOutputError] : 0);
      unit.candidates.push_back(candidate);
    }
    const double weights = static_cast<double>(spec.rows * spec.cols);
    add_students(u, unit, errors, measured, spare ? sparing(weights, mean) : 1, result);
    profile.units.push_back(std::move(unit));
  }
  return result;
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

double mean_weights(const Model& model) {
  double weights = 0;
  for (const LinearSpec& unit : model.units())
    weights += static_cast<double>(unit.rows * unit.cols);
  return weights / static_cast<double>(model.units().size());
}

// Where plans balance, a matrix of w weights loses in proportion to w, so that a plan's error is
// least for the time if each is measured on windows in proportion to the root of w (Neyman's
// allocation). One in so many; of a matrix as large as the mean, and of larger ones, all.
size_t sparing(double weights, double mean) {
  const double every = std::sqrt(mean / weights);
  return every < 1.5 ? 1 : every < 3 ? 2 : kFinestEvery;
}

Profile unmeasured_profile(const Model& model, const std::vector<const Format*>& formats,
                           const std::string& quantizer) {
  std::vector<std::vector<Possible>> possible;
  for (const LinearSpec& unit : model.units()) {
    possible.emplace_back();
    for (Choice& choice : possible_choices(model.checkpoint().units.at(unit.name), formats,
                                           parse_quantizer(quantizer)))
      possible.back().push_back({std::move(choice)});
  }
  return prepare(model, possible, 0).profile;
}

Profile costless_profile(const Model& model, const std::vector<const Format*>& formats,
                         const std::string& quantizer) {
  Profile profile = unmeasured_profile(model, formats, quantizer);
  for (Unit& unit : profile.units) {
    for (Candidate& candidate : unit.candidates) set_exact(candidate, 0);
    for (const Metric* metric : kMetrics)
      if (!metric->of_candidates()) unit.weights[*metric] = 0;
  }
  return profile;
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
  UnitInputs inputs(model, calibration.seen, quantizer.sees, progress, spare);
  Reference reference = reference_of(model, options.suffix, quantizer, inputs, progress);
  Prepared prepared =
      prepare(model, candidate_choices(model, formats, quantizer, options.pinned, inputs, progress),
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
  return {.profile = filled_in(scores, scores, prepared, model.spec().vocab, metrics),
          .calibration = std::move(calibration),
          .inputs = std::move(inputs),
          .students = std::move(prepared.students),
          .spare_bytes = spare};
}

ProfileRun run_profile(const Model& model, const Tokenizer* tokenizer,
                       const ProfileOptions& options, Progress& progress, const Judge& judge) {
  const std::unique_ptr<Journal> journal = open_journal(model, options);
  return run_profile(model, tokenizer, options, progress, judge, *journal);
}

}  // namespace klens
