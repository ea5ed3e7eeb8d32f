#include "engine/jobs/refine.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "engine/jobs/profile_state.h"
#include "engine/jobs/quantize_job.h"
#include "engine/jobs/stages.h"

namespace klens {
namespace {

constexpr int kMaxRounds = 3;
constexpr double kWorthIt = 0.99;    // less than a percent is not worth another round
constexpr size_t kRefitWindows = 4;  // paired differences are far less noisy than KLs
constexpr double kMatters = 0.002;   // a change that moves the plan's KL by less is not measured
constexpr double kAddsUp = 0.1;      // a plan that is as near to its promise is left alone
constexpr double kMostRefit = 4;     // more than that is chance

// A plan and its KL, window by window.
struct Measured {
  Plan plan;
  std::vector<double> windows;
};

double mean_of_first(const Measured& measured, int64_t windows) {
  return mean_error(std::span(measured.windows).first(static_cast<size_t>(windows))).mean;
}

// Whether the plan loses what the units' own KLs promise, on the windows that these are of: nothing
// is to be learnt from it then.
bool adds_up(const Measured& measured, int64_t windows) {
  if (!measured.plan.predicted_kl) return false;
  return std::fabs(mean_of_first(measured, windows) - *measured.plan.predicted_kl) <=
         kAddsUp * *measured.plan.predicted_kl;
}

// What was promised on the profile's windows, on all that the plan was measured on: those may be
// harder, for any plan.
void promise_on_all(Measured& measured, int64_t windows) {
  const double first = mean_of_first(measured, windows);
  if (measured.plan.predicted_kl && first > 0 && std::isfinite(first))
    *measured.plan.predicted_kl *= *measured.plan.measured_kl / first;
}

// Whether it loses less by more than chance: what helps a few windows may cost on other text.
bool better(const Measured& next, const Measured& now) {
  std::vector<double> less;
  for (size_t w = 0; w < now.windows.size(); ++w) less.push_back(now.windows[w] - next.windows[w]);
  const MeanError gain = mean_error(less);
  return gain.mean > gain.error;
}

// The plan from predictions as they were, where some were checked. A limit on KL is met by other
// means.
std::optional<Plan> unchecked_plan(const ProfileRun& run, const PlanRequest& request) {
  if (!run.unchecked || request.budget.max_kl) return std::nullopt;
  return plan_or_none(*run.unchecked, request);
}

// The candidate next to the chosen one in what outputs lose, activations being alike: the coarser
// one, or the finer where there is none. Null where there is no other.
const Candidate* neighbour(const Unit& unit, const Candidate& chosen) {
  const Candidate *coarser = nullptr, *finer = nullptr;
  for (const Candidate& c : unit.candidates) {
    if (c.choice.activation_bits != chosen.choice.activation_bits || !has_kl(c)) continue;
    if (*c.kl > *chosen.kl && (coarser == nullptr || *c.kl < *coarser->kl)) coarser = &c;
    if (*c.kl < *chosen.kl && (finer == nullptr || *c.kl > *finer->kl)) finer = &c;
  }
  return coarser != nullptr ? coarser : finer;
}

const Candidate& chosen_of(const Unit& unit, const Plan& plan) {
  return *std::ranges::find(unit.candidates, plan.units.at(unit.name), &Candidate::choice);
}

void scale(Unit& unit, double by) {
  for (Candidate& c : unit.candidates) {
    if (c.kl) *c.kl *= by;
    if (c.kl_stderr) *c.kl_stderr *= by;
    for (double& kl : c.kl_windows) kl *= by;
  }
}

// The profile with the KLs of each unit scaled so that they say what happens to the plan when the
// unit alone gets the format next to its own.
Profile refitted(const Model& model, const ProfileRun& run, const Plan& plan, PlanUnits& units,
                 Progress& progress, Journal& journal) {
  Profile profile = run.profile;
  std::vector<Student> students;
  std::vector<double> expected;
  for (size_t u = 0; u < profile.units.size(); ++u) {
    const Candidate& chosen = chosen_of(profile.units[u], plan);
    const Candidate* other = neighbour(profile.units[u], chosen);
    if (other == nullptr || std::fabs(*other->kl - *chosen.kl) < kMatters * *plan.measured_kl)
      continue;
    students.push_back({u, other->choice});
    expected.push_back(*other->kl - *chosen.kl);
  }
  const std::shared_ptr<const PackedUnits> packed = units.of(plan, progress);
  StudentRunner runner(model, packed.get(), run.inputs);
  runner.keep_packed(run.spare_bytes);
  const size_t count = std::min(kRefitWindows, run.calibration.windows.size());
  const std::span<const std::vector<int32_t>> windows(run.calibration.windows.data(), count);
  Scores scores;
  JournalScores kept(journal, &plan);
  progress.stage("re-measure around the plan", static_cast<double>(students.size() * count));
  profile_windows(
      runner, windows, students, [&](const Student&) { progress.step(); }, [] { return true; },
      &kept, scores);

  const double base = mean_kl(scores.base).mean;
  for (size_t s = 0; s < students.size(); ++s) {
    Candidate measured;
    summarise(scores, s, model.spec().vocab, measured);
    const double by = (*measured.kl - base) / expected[s];
    if (!std::isfinite(by)) continue;  // a broken student tells nothing of the others
    scale(profile.units[students[s].unit], std::clamp(by, 1 / kMostRefit, kMostRefit));
  }
  return profile;
}

}  // namespace

PlanScore plan_score(std::span<const WindowScore> scores) {
  PlanScore result{.kl = mean_kl(scores)};
  double ce = 0, delta = 0;
  int64_t labels = 0;
  for (const WindowScore& score : scores) {
    ce += score.ce;
    delta += score.delta_ce;
    labels += score.labels;
  }
  result.ce_student = ce / static_cast<double>(labels);
  result.ce_teacher = (ce - delta) / static_cast<double>(labels);
  return result;
}

std::vector<PlanUnits::Kept>::iterator PlanUnits::find(const Plan& plan) {
  return std::ranges::find(kept_, plan.units, &Kept::choices);
}

std::shared_ptr<PackedUnits> PlanUnits::of(const Plan& plan, Progress& progress) {
  if (const auto found = find(plan); found != kept_.end()) return found->units;
  Kept made{.choices = plan.units, .bytes = 0, .units = {}};
  for (const LinearSpec& unit : model_.units())
    if (const auto choice = plan.units.find(unit.name); choice != plan.units.end())
      made.bytes += static_cast<int64_t>(
          packed_bytes(*find_format(choice->second.format), unit.rows, unit.cols));
  const auto all = [&] {
    int64_t bytes = made.bytes;
    for (const Kept& kept : kept_) bytes += kept.bytes;
    return bytes;
  };
  while (!kept_.empty() && all() > most_bytes_) kept_.erase(kept_.begin());
  made.units = std::make_shared<PackedUnits>(pack_plan(model_, plan, inputs_, progress));
  std::shared_ptr<PackedUnits> units = made.units;
  if (made.bytes <= most_bytes_) kept_.push_back(std::move(made));
  return units;
}

PackedWeight PlanUnits::take(const Plan& plan, size_t unit) {
  if (const auto found = find(plan); found != kept_.end()) {
    taking_ = std::move(*found);
    kept_.erase(found);
  }
  if (taking_ && taking_->choices == plan.units && (*taking_->units)[unit] != nullptr)
    return std::move(std::exchange((*taking_->units)[unit], nullptr)->weight);
  return quantise_unit(model_, unit, plan.units.at(model_.units()[unit].name), inputs_);
}

PlanScore measure_plan(const Model& model, const Plan& plan, PlanUnits& units,
                       std::span<const std::vector<int32_t>> windows, Progress& progress,
                       Journal& journal) {
  JournalScores kept(journal, &plan);
  const UnitInputs none;  // the plan's units are made
  std::shared_ptr<const PackedUnits> packed;
  std::optional<StudentRunner> runner;  // once there is something to measure
  std::vector<WindowScore> scores;
  progress.stage(stages::kMeasure, static_cast<double>(windows.size()));
  for (const auto& window : windows) {
    std::optional<WindowScore> score = kept.find(window, nullptr);
    if (!score) {
      if (!runner) {
        packed = units.of(plan, progress);
        runner.emplace(model, packed.get(), none);
      }
      score = runner->begin_window(window);
      kept.keep(window, nullptr, *score);
    }
    scores.push_back(*score);
    progress.step();
  }
  return plan_score(scores);
}

Refined refine(const Model& model, const ProfileRun& run, const PlanRequest& request, Plan plan,
               PlanUnits& units, Progress& progress, Journal& journal) {
  const std::vector<std::vector<int32_t>>& all = run.calibration.windows;
  const std::span windows(all.data(),
                          std::max(static_cast<size_t>(run.profile.windows),
                                   std::min(all.size(), static_cast<size_t>(kPlanWindows))));
  const auto measure = [&](Plan p) {
    MeanKl kl = measure_plan(model, p, units, windows, progress, journal).kl;
    p.measured_kl = kl.mean;
    p.measured_kl_stderr = kl.stderr_of_mean;
    return Measured{std::move(p), std::move(kl.windows)};
  };
  const std::string budget = plan.budget;
  Measured best = measure(std::move(plan));
  bool unchecked = false;
  if (std::optional<Plan> other = unchecked_plan(run, request);
      other && other->units != best.plan.units) {
    Measured measured = measure(std::move(*other));
    unchecked = *measured.plan.measured_kl < *best.plan.measured_kl;
    if (unchecked) best = std::move(measured);
  }
  int rounds = 0;
  PlanRequest tightened = request;
  const bool by_kl = request.budget.max_kl.has_value();
  while (find_row(kPlanMethods, request.method)->refines && rounds < kMaxRounds) {
    const double kl = *best.plan.measured_kl;
    if (by_kl ? kl <= *request.budget.max_kl : adds_up(best, run.profile.windows)) break;
    Plan made;
    if (by_kl) {
      tightened.budget.max_kl = *tightened.budget.max_kl * *request.budget.max_kl / kl * 0.98;
      made = plan_or_throw(run.profile, tightened);
    } else {
      made = plan_or_throw(refitted(model, run, best.plan, units, progress, journal), request);
    }
    made.budget = budget;
    made.predicted_kl = predicted_kl(run.profile, made);
    if (made.units == best.plan.units) break;
    Measured next = measure(std::move(made));
    if (!by_kl && !better(next, best)) break;
    best = std::move(next);
    ++rounds;
    if (!by_kl && *best.plan.measured_kl > kWorthIt * kl) break;
  }
  promise_on_all(best, run.profile.windows);
  return {.plan = std::move(best.plan), .rounds = rounds, .unchecked = unchecked};
}

}  // namespace klens
