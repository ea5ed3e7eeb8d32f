#pragma once
#include <chrono>
#include <optional>
#include <vector>

#include "engine/jobs/profile_job.h"
#include "quant/planner.h"

namespace klens {

// What ending a profile early saved, and what it risks.
struct Race {
  int64_t windows = 0, of = 0;  // that were measured, that might have been
  double share = 0;             // of the work of all
  // Of the worse plan from half of those measured: KL over that of the plan from all, less 1.
  double regret = 0;
  std::optional<double> seconds_saved;  // where it ended early
};

// Measures no more than a plan depends on. A unit is settled once plans made from either half of
// the windows choose for it what the plan from all does, twice in a row. The profile ends once such
// plans are as good, over all windows, as the one made from all, twice in a row: more windows would
// then change it by less; or once all units are settled.
class Racing {
 public:
  // The request outlives this.
  explicit Racing(const PlanRequest& request) : request_(request) {}

  // To be asked after each window, with the profile so far.
  Verdict judge(const SoFar& so_far);

  // Of a profile that ended after so many windows of those that might have been measured.
  Race result(int64_t windows, int64_t of) const;

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr double kRegret = 0.03, kNone = 1;

  const PlanRequest& request_;
  Clock::time_point first_, last_;         // of the ends of windows
  double first_share_ = 0, share_ = 0;     // of the work, then
  std::vector<bool> was_alike_, settled_;  // by unit
  double regret_ = kNone;
};

}  // namespace klens
