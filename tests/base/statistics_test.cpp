#include "base/statistics.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <random>

namespace klens {

TEST_CASE("standard errors", "[statistics]") {
  const std::vector<double> samples = {1, 2, 3, 4};
  CHECK(*standard_error(samples) == Approx(std::sqrt(5.0 / 3 / 4)));
  CHECK_FALSE(standard_error(std::vector<double>{1}));
  CHECK(*paired_standard_error(samples, std::vector<double>{2, 3, 4, 5}) == 0);
  CHECK_FALSE(paired_standard_error(samples, std::vector<double>{1, 2, 3}));
  CHECK_FALSE(paired_standard_error({}, {}));
}

TEST_CASE("means with their errors, from samples and from sums", "[statistics]") {
  const std::vector<double> samples = {1, 2, 3, 4};
  const MeanError mean = mean_error(samples);
  CHECK(mean.mean == 2.5);
  CHECK(mean.error == Approx(*standard_error(samples)));
  CHECK(mean_error(10, 30, 4).error == mean.error);
  CHECK(mean_error(3, 9, 1).error == 0);
}

TEST_CASE("deviation, median and percentiles", "[statistics]") {
  CHECK(standard_deviation(std::vector<double>{1, 2, 3, 4}) == Approx(std::sqrt(5.0 / 3)));
  CHECK(standard_deviation(std::vector<double>{7}) == 0);
  CHECK(median({4, 1, 3}) == 3);
  CHECK(median({4, 1, 3, 2}) == 2.5);
  CHECK(median({5}) == 5);
  const std::vector<double> sorted = {0, 10, 20, 30, 40};
  CHECK(percentile(sorted, 0) == 0);
  CHECK(percentile(sorted, 100) == 40);
  CHECK(percentile(sorted, 90) == Approx(36));
}

namespace {

// Pair by pair, as it is defined.
double tau_by_pairs(const std::vector<double>& x, const std::vector<double>& y) {
  double alike = 0, untied_x = 0, untied_y = 0;
  for (size_t i = 0; i < x.size(); ++i)
    for (size_t j = 0; j < i; ++j) {
      const int a = (x[i] > x[j]) - (x[i] < x[j]), b = (y[i] > y[j]) - (y[i] < y[j]);
      alike += a * b;
      untied_x += a != 0;
      untied_y += b != 0;
    }
  return alike / std::sqrt(untied_x * untied_y);
}

}  // namespace

TEST_CASE("Kendall's tau-b, with ties", "[statistics]") {
  using V = std::vector<double>;
  CHECK(*kendall_tau_b(V{1, 2, 3, 4}, V{10, 20, 30, 40}) == 1);
  CHECK(*kendall_tau_b(V{1, 2, 3, 4}, V{4, 3, 2, 1}) == -1);
  // scipy.stats.kendalltau's own example, and one with ties on both sides, by hand: 10 pairs, of
  // which x ties 1 and y ties 2, none both; 5 alike, 2 otherwise.
  CHECK(*kendall_tau_b(V{12, 2, 1, 12, 2}, V{1, 4, 7, 1, 0}) == Approx(-0.47140452079103173));
  CHECK(*kendall_tau_b(V{1, 2, 2, 3, 4}, V{1, 1, 3, 3, 2}) == Approx((5 - 2) / std::sqrt(9.0 * 8)));
  CHECK_FALSE(kendall_tau_b(V{}, V{}));
  CHECK_FALSE(kendall_tau_b(V{1}, V{1}));
  CHECK_FALSE(kendall_tau_b(V{1, 2}, V{1, 2, 3}));
  CHECK_FALSE(kendall_tau_b(V{1, 1, 1}, V{1, 2, 3}));
  CHECK_FALSE(kendall_tau_b(V{1, 2, NAN}, V{1, 2, 3}));
  std::mt19937 random(5);
  for (const size_t n : {2, 3, 7, 64, 211}) {
    V x(n), y(n);
    for (size_t i = 0; i < n; ++i) {
      x[i] = static_cast<double>(random() % 20);
      y[i] = x[i] / 2 + static_cast<double>(random() % 12);
    }
    x[0] = -1;  // not all tied
    y[0] = -1;
    CAPTURE(n);
    CHECK(*kendall_tau_b(x, y) == Approx(tau_by_pairs(x, y)));
    CHECK(*kendall_tau_b(y, x) == Approx(tau_by_pairs(x, y)));
  }
}

TEST_CASE("a bootstrap's interval is that of the mean where it is known", "[statistics]") {
  std::mt19937 random(7);
  std::normal_distribution<double> normal(3, 2);
  std::vector<double> samples(400);
  for (double& sample : samples) sample = normal(random);
  const auto mean = [&](std::span<const size_t> picks) -> std::optional<double> {
    double sum = 0;
    for (const size_t pick : picks) sum += samples[pick];
    return sum / static_cast<double>(picks.size());
  };
  const Interval found = *bootstrap_interval(samples.size(), 2000, 1, mean);
  const MeanError known = mean_error(samples);
  CHECK(found.low == Approx(known.mean - 1.96 * known.error).margin(0.2 * known.error));
  CHECK(found.high == Approx(known.mean + 1.96 * known.error).margin(0.2 * known.error));
  const Interval again = *bootstrap_interval(samples.size(), 2000, 1, mean);
  CHECK(again.low == found.low);
  CHECK(bootstrap_interval(samples.size(), 2000, 2, mean)->low != found.low);
  const auto never = [](std::span<const size_t>) { return std::optional<double>(); };
  CHECK_FALSE(bootstrap_interval(5, 10, 1, never));
  CHECK_FALSE(bootstrap_interval(0, 10, 1, mean));
}

}  // namespace klens
