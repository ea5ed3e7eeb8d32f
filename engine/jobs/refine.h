#pragma once
#include "engine/jobs/profile_job.h"
#include "quant/planner.h"

namespace klens {

// Mean KL of a whole plan against the teacher, measured on windows; ce for perplexities, nats per
// label.
struct PlanScore {
  MeanKl kl;
  double ce_teacher = 0, ce_student = 0;
};
// Of the scores of its windows.
PlanScore plan_score(std::span<const WindowScore> scores);
PlanScore measure_plan(const Model& model, const Plan& plan, const UnitInputs& inputs,
                       std::span<const std::vector<int32_t>> windows, Progress& progress,
                       Journal& journal);

// Windows that a plan is measured on, at least: it is one pass a window, where a profile is
// hundreds.
inline constexpr int64_t kPlanWindows = 16;

struct Refined {
  Plan plan;  // with measured_kl and its error
  int rounds = 0;
};

// KLs of single units do not quite add up. Where a plan measures more than a tenth off what they
// promise, every unit that matters is measured anew in the format next to its own (what the plan's
// KL then becomes), all its KLs are scaled to fit, the knapsack is solved with these, and the new
// plan is kept if it measures better by more than chance; until it does not.
// A budget on KL is instead met by tightening it by what the measurement showed. The plan was made
// from the run's profile, and is measured on more of its windows where that took few.
Refined refine(const Model& model, const ProfileRun& run, const PlanRequest& request, Plan plan,
               Progress& progress, Journal& journal);

}  // namespace klens
