#include "engine/jobs/racing.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>
#include <string>
#include <utility>
#include <variant>

namespace klens {
namespace {

// How much candidates lose on each window, next to the mean of all windows: of those that were
// measured on all, each counting alike.
std::vector<double> shares_of(const Profile& profile) {
  const auto count = static_cast<size_t>(profile.windows);
  std::vector<double> sums(count);
  for (const Unit& unit : profile.units)
    for (const Candidate& c : unit.candidates) {
      const double total = std::accumulate(c.kl_windows.begin(), c.kl_windows.end(), 0.0);
      if (c.predicted || c.kl_windows.size() != count || !std::isfinite(total) || !(total > 0))
        continue;
      for (size_t w = 0; w < count; ++w) sums[w] += c.kl_windows[w] / total;
    }
  const double all = std::accumulate(sums.begin(), sums.end(), 0.0);
  for (double& sum : sums) sum = all > 0 ? sum * static_cast<double>(count) / all : 1;
  return sums;
}

// As every second window tells it.
Profile half_of(const Profile& profile, std::span<const double> shares, size_t first) {
  Profile half = profile;
  for (Unit& unit : half.units)
    for (Candidate& c : unit.candidates) {
      double kl = 0, share = 0;
      for (size_t w = first; w < c.kl_windows.size(); w += 2) {
        kl += c.kl_windows[w];
        share += shares[w];
      }
      if (share > 0) c.kl = kl / share;
    }
  return half;
}

}  // namespace

Verdict Racing::judge(const Profile& profile) {
  last_ = Clock::now();
  if (calls_++ == 0) first_ = last_;
  settled_.resize(profile.units.size());
  units_ = static_cast<double>(profile.units.size());
  passes_ += static_cast<double>(std::ranges::count(settled_, false));
  // A limit on KL that so few windows put out of reach may be met with more.
  const auto made = make_plan(profile, request_);
  const Plan* all = std::get_if<Plan>(&made);
  if (profile.windows < 2 || all == nullptr) return {};
  const std::vector<double> shares = shares_of(profile);
  const double before = std::exchange(regret_, 0), kl = predicted_kl(profile, *all);
  std::vector<bool> alike(settled_.size(), true);
  for (const size_t first : {0, 1}) {
    const auto from_half = make_plan(half_of(profile, shares, first), request_);
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
  for (size_t u = 0; u < alike.size(); ++u) settled_[u] = settled_[u] || alike[u];
  // Once may be luck.
  const bool twice = std::max(before, regret_) <= kRegret;
  return {.ended = twice || !std::ranges::count(settled_, false), .settled = settled_};
}

Race Racing::result(int64_t windows, int64_t of) const {
  Race race{.windows = windows,
            .of = of,
            .passes = passes_,
            .passes_of = units_ * static_cast<double>(of),
            .regret = regret_,
            .seconds_saved = {}};
  const std::chrono::duration<double> taken = last_ - first_;
  if (passes_ > units_ && windows < of)
    race.seconds_saved = taken.count() / (passes_ - units_) * (race.passes_of - passes_);
  return race;
}

}  // namespace klens
