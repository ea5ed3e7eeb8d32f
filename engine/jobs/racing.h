#pragma once
#include <chrono>
#include <optional>

#include "quant/planner.h"

namespace klens {

// What ending a profile early saved, and what it risks.
struct Race {
  int64_t windows = 0, of = 0;  // that were measured, that might have been
  // Of the worse plan from half of those measured: KL over that of the plan from all, less 1.
  double regret = 0;
  std::optional<double> seconds_saved;  // where it ended early
};

// Ends a profile once plans made from either half of its windows are as good, over all of them, as
// the one made from all, twice in a row: more windows would then change it by less.
class Racing {
 public:
  // The request outlives this.
  explicit Racing(const PlanRequest& request) : request_(request) {}

  // To be asked after each window, with the profile so far.
  bool decided(const Profile& profile);

  // Of a profile that ended after so many windows of those that might have been measured.
  Race result(int64_t windows, int64_t of) const;

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr double kRegret = 0.03, kNone = 1;

  // Of the plan from every second window, over all of them, in KL or bytes.
  double regret(const Profile& profile, const Plan& all, size_t first) const;

  const PlanRequest& request_;
  Clock::time_point first_, last_;  // of the ends of windows
  int64_t calls_ = 0;
  double regret_ = kNone;
};

}  // namespace klens
