#include "engine/jobs/racing.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>
#include <variant>

namespace klens {
namespace {

// As every second window tells it.
Profile half_of(const Profile& profile, size_t first) {
  Profile half = profile;
  for (Unit& unit : half.units)
    for (Candidate& c : unit.candidates) {
      std::vector<double> windows;
      for (size_t w = first; w < c.kl_windows.size(); w += 2) windows.push_back(c.kl_windows[w]);
      if (windows.empty()) continue;
      c.kl = std::accumulate(windows.begin(), windows.end(), 0.0) /
             static_cast<double>(windows.size());
      c.kl_windows = std::move(windows);
    }
  return half;
}

}  // namespace

bool Racing::decided(const Profile& profile) {
  last_ = Clock::now();
  if (calls_++ == 0) first_ = last_;
  if (profile.windows < 2) return false;
  // A limit on KL that so few windows put out of reach may be met with more.
  const auto all = make_plan(profile, request_);
  if (!std::holds_alternative<Plan>(all)) return false;
  const double before = std::exchange(regret_, 0);
  for (const size_t first : {0, 1})
    regret_ = std::max(regret_, regret(profile, std::get<Plan>(all), first));
  // Once may be luck.
  return std::max(before, regret_) <= kRegret;
}

Race Racing::result(int64_t windows, int64_t of) const {
  Race race{.windows = windows, .of = of, .regret = regret_, .seconds_saved = {}};
  const std::chrono::duration<double> taken = last_ - first_;
  if (windows < of && calls_ > 1)
    race.seconds_saved =
        taken.count() / static_cast<double>(calls_ - 1) * static_cast<double>(of - windows);
  return race;
}

double Racing::regret(const Profile& profile, const Plan& all, size_t first) const {
  const auto made = make_plan(half_of(profile, first), request_);
  const Plan* half = std::get_if<Plan>(&made);
  if (half == nullptr) return kNone;
  const double kl = predicted_kl(profile, all), more = predicted_kl(profile, *half) - kl;
  const double bytes = static_cast<double>(all.bytes);
  return std::max(kl > 0 ? more / kl : 0,
                  std::fabs(static_cast<double>(half->bytes) - bytes) / bytes);
}

}  // namespace klens
