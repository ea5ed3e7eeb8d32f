#include "base/statistics.h"

#include <catch2/catch.hpp>
#include <cmath>

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

TEST_CASE("Kendall's tau-b", "[statistics]") {
  const std::vector<double> a = {1, 2, 3, 4};
  CHECK(*kendall_tau_b(a, a) == 1);
  CHECK(*kendall_tau_b(a, std::vector<double>{9, 7, 5, 1}) == -1);
  // One of six pairs is the other way round.
  CHECK(*kendall_tau_b(a, std::vector<double>{1, 2, 4, 3}) == Approx(4.0 / 6));
  // scipy.stats.kendalltau([12, 2, 1, 12, 2], [1, 4, 7, 1, 0]).
  CHECK(*kendall_tau_b(std::vector<double>{12, 2, 1, 12, 2}, std::vector<double>{1, 4, 7, 1, 0}) ==
        Approx(-0.4714045207910316));
  CHECK_FALSE(kendall_tau_b(a, std::vector<double>{5, 5, 5, 5}));
  CHECK_FALSE(kendall_tau_b(a, std::vector<double>{1, 2, 3}));
  CHECK_FALSE(kendall_tau_b({}, {}));
}

}  // namespace klens
