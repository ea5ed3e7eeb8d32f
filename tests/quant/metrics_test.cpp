// Metrics that are more than a mean of scores.
#include "quant/metrics.h"

#include <catch2/catch.hpp>
#include <random>

#include "base/statistics.h"
#include "quant/profiler.h"

namespace klens {
namespace {

// Windows of so many positions each; scores keep `kept` of each window's largest KLs.
std::vector<WindowScore> windows_of(const std::vector<double>& kls, size_t positions, size_t kept) {
  std::vector<WindowScore> windows;
  for (size_t first = 0; first < kls.size(); first += positions) {
    const size_t end = std::min(first + positions, kls.size());
    WindowScore window;
    window.positions = static_cast<int64_t>(end - first);
    window.largest.assign(kls.begin() + static_cast<std::ptrdiff_t>(first),
                          kls.begin() + static_cast<std::ptrdiff_t>(end));
    std::ranges::sort(window.largest, std::greater());
    window.largest.resize(std::min(kept, window.largest.size()));
    windows.push_back(window);
  }
  return windows;
}

double tail_of(const std::vector<WindowScore>& windows) {
  WindowScore sum;
  for (const WindowScore& window : windows) sum += window;
  return tail_kl(sum, 7);
}

}  // namespace

TEST_CASE("the 99.9th percentile is exact from each window's largest", "[metrics]") {
  std::mt19937 rng(3);
  std::lognormal_distribution<double> draw(-3, 2);
  for (const size_t count : {1, 2, 53, 999, 1000, 1001, 1002, 8192, 32768}) {
    CAPTURE(count);
    std::vector<double> kls(count);
    for (double& kl : kls) kl = draw(rng);
    std::vector<double> sorted = kls;
    std::ranges::sort(sorted);
    const double expected = percentile(sorted, kTailPercent);
    const size_t kept = tail_length(static_cast<int64_t>(count));
    CHECK(kept <= count / 1000 + 2);
    CHECK(tail_of(windows_of(kls, 256, kept)) == expected);
    // All of the largest in one window.
    CHECK(tail_of(windows_of(sorted, 256, kept)) == expected);
    CHECK(tail_of(windows_of(sorted, 256, kept + 5)) == expected);
    // Fewer than it takes is no lower figure, but none.
    if (count == 32768) CHECK(std::isnan(tail_of(windows_of(sorted, 32768, kept - 1))));
  }
}

TEST_CASE("a candidate has the percentile where its windows kept enough", "[metrics]") {
  Scores scores;
  for (const size_t kept : {2, 2, 0}) {
    WindowScore window;
    window.kl = 6;
    window.positions = 3;
    window.largest = {3, 2};
    window.largest.resize(kept);
    scores.windows.push_back({window});
    scores.base.emplace_back();
  }
  Candidate candidate;
  scores.windows.pop_back();
  summarise(scores, 0, 7, candidate);
  CHECK(*candidate.others[kKlP999] == Approx(3));
  CHECK(*candidate.kl == 2);
  scores.windows[0][0].largest.clear();
  scores.windows[1][0].largest.clear();
  candidate = {};
  summarise(scores, 0, 7, candidate);
  CHECK_FALSE(candidate.others[kKlP999]);
}

}  // namespace klens
