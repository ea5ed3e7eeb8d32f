#pragma once
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/jobs/profile_job.h"
#include "quant/planner.h"

namespace klens {

// Units of plans, each made once for all that measures, changes or writes the plan. What was made
// last is kept, as far as memory allows.
class PlanUnits {
 public:
  // most_bytes: of units that are kept. The model outlives this.
  PlanUnits(const Model& model, UnitInputs inputs, int64_t most_bytes)
      : model_(model), inputs_(std::move(inputs)), most_bytes_(most_bytes) {}

  // All units in the plan's formats, as pack_plan.
  std::shared_ptr<PackedUnits> of(const Plan& plan, Progress& progress);
  // One unit, taken from what is kept of the plan, which is kept no longer, or made.
  PackedWeight take(const Plan& plan, size_t unit);

 private:
  struct Kept {
    std::map<std::string, Choice> choices;
    int64_t bytes;
    std::shared_ptr<PackedUnits> units;
  };
  std::vector<Kept>::iterator find(const Plan& plan);

  const Model& model_;
  UnitInputs inputs_;
  int64_t most_bytes_;
  std::vector<Kept> kept_;      // the oldest first
  std::optional<Kept> taking_;  // from this
};

// Mean KL of a whole plan against the teacher, measured on windows; ce for perplexities, nats per
// label.
struct PlanScore {
  MeanKl kl;
  double ce_teacher = 0, ce_student = 0;
};
// Of the scores of its windows.
PlanScore plan_score(std::span<const WindowScore> scores);
PlanScore measure_plan(const Model& model, const Plan& plan, PlanUnits& units,
                       std::span<const std::vector<int32_t>> windows, Progress& progress,
                       Journal& journal);

// Windows that a plan is measured on, at least: it is one pass a window, where a profile is
// hundreds.
inline constexpr int64_t kPlanWindows = 16;

struct Refined {
  Plan plan;  // with measured_kl and its error
  int rounds = 0;
  bool unchecked = false;  // it began with the plan from predictions as they were
};

// KLs of single units do not quite add up. Where a plan measures more than a tenth off what they
// promise, every unit that matters is measured anew in the format next to its own (what the plan's
// KL then becomes), all its KLs are scaled to fit, the knapsack is solved with these, and the new
// plan is kept if it measures better by more than chance; until it does not.
// Where the run checked predictions, the plan from the profile without that is measured too, and
// the better one is gone on with: checks see few windows, plans kPlanWindows. A budget on KL is
// instead met by tightening it by what the measurement showed. The plan was made from the run's
// profile, and is measured on more of its windows where that took few.
Refined refine(const Model& model, const ProfileRun& run, const PlanRequest& request, Plan plan,
               PlanUnits& units, Progress& progress, Journal& journal);

}  // namespace klens
