#include "engine/jobs/racing.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <variant>

namespace klens {

Verdict Racing::judge(const SoFar& so_far) {
  const Profile& profile = so_far.all;
  last_ = Clock::now();
  share_ = so_far.share;
  if (first_share_ == 0) {
    first_ = last_;
    first_share_ = share_;
  }
  settled_.resize(profile.units.size());
  // A limit on KL that so few windows put out of reach may be met with more.
  const auto made = make_plan(profile, request_);
  const Plan* all = std::get_if<Plan>(&made);
  if (profile.windows < 2 || all == nullptr) return {};
  const double before = std::exchange(regret_, 0), kl = predicted_kl(profile, *all);
  std::vector<bool> alike(settled_.size(), true);
  for (const Profile& half_told : so_far.halves) {
    const auto from_half = make_plan(half_told, request_);
    const Plan* half = std::get_if<Plan>(&from_half);
    if (half == nullptr) {
      regret_ = kNone;
      return {};
    }
    const double more = kl > 0 ? predicted_kl(profile, *half) / kl - 1 : 0;
    const double bytes = static_cast<double>(half->bytes) / static_cast<double>(all->bytes) - 1;
    regret_ = std::max({regret_, more, std::fabs(bytes)});
    for (size_t u = 0; u < alike.size(); ++u) {
      const std::string& name = profile.units[u].name;
      alike[u] = alike[u] && half->units.at(name) == all->units.at(name);
    }
  }
  // Once may be luck.
  was_alike_.resize(alike.size());
  for (size_t u = 0; u < alike.size(); ++u)
    settled_[u] = settled_[u] || (alike[u] && was_alike_[u]);
  was_alike_ = std::move(alike);
  const bool twice = std::max(before, regret_) <= kRegret;
  return {.ended = twice || !std::ranges::count(settled_, false), .settled = settled_};
}

Race Racing::result(int64_t windows, int64_t of) const {
  Race race{.windows = windows, .of = of, .share = share_, .regret = regret_, .seconds_saved = {}};
  const std::chrono::duration<double> taken = last_ - first_;
  if (windows < of && share_ > first_share_)
    race.seconds_saved = taken.count() / (share_ - first_share_) * (1 - share_);
  return race;
}

}  // namespace klens
