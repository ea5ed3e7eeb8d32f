#include "engine/jobs/refine.h"

#include <algorithm>

#include "engine/jobs/profile_state.h"
#include "engine/jobs/quantize_job.h"

namespace klens {
namespace {

constexpr int kMaxRounds = 3;
constexpr double kWorthIt = 0.99;       // less than a percent is not worth another round
constexpr size_t kMarginalWindows = 8;  // paired differences are far less noisy than KLs
constexpr double kMatters = 0.01;       // a unit that can move the plan's KL by one percent

Candidate& candidate_of(Unit& unit, const Choice& choice) {
  return *std::find_if(unit.candidates.begin(), unit.candidates.end(),
                       [&](const Candidate& c) { return c.choice == choice; });
}

bool matters(const Unit& unit, double plan_kl) {
  double low = 1e300, high = 0;
  for (const Candidate& candidate : unit.candidates) {
    low = std::min(low, candidate.kl.value_or(0));
    high = std::max(high, candidate.kl.value_or(0));
  }
  return high - low > kMatters * plan_kl;
}

// The profile with the KLs of units that matter replaced by what changing them alone does to the
// plan.
Profile marginal_profile(const Model& model, const ProfileRun& run, const Plan& plan,
                         Progress& progress, Journal& journal) {
  Profile profile = run.profile;
  std::vector<Student> students;
  std::vector<std::pair<size_t, size_t>> places;
  for (size_t u = 0; u < profile.units.size(); ++u) {
    if (!matters(profile.units[u], *plan.measured_kl)) continue;
    for (size_t c = 0; c < profile.units[u].candidates.size(); ++c) {
      const Choice& choice = profile.units[u].candidates[c].choice;
      if (choice == plan.units.at(profile.units[u].name)) continue;
      students.push_back({u, choice});
      places.emplace_back(u, c);
    }
  }
  const PackedUnits packed = pack_plan(model, plan, run.inputs);
  StudentRunner runner(model, &packed, run.inputs);
  const size_t count = std::min(
      {kMarginalWindows, run.calibration.windows.size(), static_cast<size_t>(profile.windows)});
  const std::span<const std::vector<int32_t>> windows(run.calibration.windows.data(), count);
  Scores scores;
  JournalScores kept(journal, &plan);
  progress.stage("re-measure around the plan", static_cast<double>(students.size() * count));
  profile_windows(
      runner, windows, students, [&] { progress.step(); }, [] { return true; }, &kept, scores);

  const MeanKl base = mean_kl(scores.base);
  for (size_t s = 0; s < students.size(); ++s) {
    Unit& unit = profile.units[places[s].first];
    Candidate& candidate = unit.candidates[places[s].second];
    summarise(scores, s, model.spec().vocab, candidate);
    *candidate.kl -= base.mean;
    for (size_t w = 0; w < count; ++w) candidate.kl_windows[w] -= base.windows[w];
    Candidate& chosen = candidate_of(unit, plan.units.at(unit.name));
    chosen.kl = chosen.kl_stderr = 0;
    chosen.kl_windows.assign(count, 0.0);
  }
  return profile;
}

// What the unmodified profile predicts for a plan's choices.
double predicted(const Profile& profile, const Plan& plan) {
  double sum = 0;
  for (const Unit& unit : profile.units)
    for (const Candidate& candidate : unit.candidates)
      if (candidate.choice == plan.units.at(unit.name)) sum += candidate.kl.value_or(0);
  return sum;
}

}  // namespace

PlanScore measure_plan(const Model& model, const Plan& plan, const UnitInputs& inputs,
                       std::span<const std::vector<int32_t>> windows, Progress& progress,
                       Journal& journal) {
  JournalScores kept(journal, &plan);
  PackedUnits packed;
  std::optional<StudentRunner> runner;  // once there is something to measure
  std::vector<WindowScore> scores;
  progress.stage("measure the whole plan", static_cast<double>(windows.size()));
  for (const auto& window : windows) {
    std::optional<WindowScore> score = kept.find(window, nullptr);
    if (!score) {
      if (!runner) {
        packed = pack_plan(model, plan, inputs);
        runner.emplace(model, &packed, inputs);
      }
      score = runner->begin_window(window);
      kept.keep(window, nullptr, *score);
    }
    scores.push_back(*score);
    progress.step();
  }
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

Refined refine(const Model& model, const ProfileRun& run, const PlanRequest& request, Plan plan,
               Progress& progress, Journal& journal) {
  const std::span<const std::vector<int32_t>> windows(run.calibration.windows.data(),
                                                      static_cast<size_t>(run.profile.windows));
  const auto measure = [&](Plan& p) {
    const MeanKl kl = measure_plan(model, p, run.inputs, windows, progress, journal).kl;
    p.measured_kl = kl.mean;
    p.measured_kl_stderr = kl.stderr_of_mean;
  };
  measure(plan);
  Refined result{.plan = plan, .rounds = 0};
  if (!find_row(kPlanMethods, request.method)->refines) return result;
  PlanRequest tightened = request;
  for (int round = 1; round <= kMaxRounds; ++round) {
    const bool by_kl = request.budget.max_kl.has_value();
    if (by_kl && *result.plan.measured_kl <= *request.budget.max_kl) break;
    Plan next;
    if (by_kl) {
      tightened.budget.max_kl =
          *tightened.budget.max_kl * *request.budget.max_kl / *result.plan.measured_kl * 0.98;
      next = plan_or_throw(run.profile, tightened);
    } else {
      next = plan_or_throw(marginal_profile(model, run, result.plan, progress, journal), request);
    }
    next.budget = plan.budget;
    next.predicted_kl = predicted(run.profile, next);
    if (next.units == result.plan.units) break;
    measure(next);
    if (!by_kl && *next.measured_kl >= *result.plan.measured_kl) break;
    const bool last = !by_kl && *next.measured_kl > kWorthIt * *result.plan.measured_kl;
    result = {.plan = std::move(next), .rounds = round};
    if (last) break;
  }
  return result;
}

}  // namespace klens
