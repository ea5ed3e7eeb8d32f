#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

namespace klens {

// A mean and its standard error.
struct MeanError {
  double mean, error;
};

// From the sums over n independent samples. The error is 0 for fewer than two.
MeanError mean_error(double sum, double sum_of_squares, int64_t n);
MeanError mean_error(std::span<const double> samples);

// Standard error of the mean of independent samples; none for fewer than two.
std::optional<double> standard_error(std::span<const double> samples);

// Standard error of mean(a) - mean(b), samples taken in pairs (the same windows). What a window
// does to both cancels, so it is far smaller than the errors of the two means suggest. None unless
// there are equally many of both, and at least two.
std::optional<double> paired_standard_error(std::span<const double> a, std::span<const double> b);

// Standard deviation of the samples (n - 1 in the denominator); 0 for fewer than two.
double standard_deviation(std::span<const double> samples);

// Of at least one sample; of an even number, the mean of the middle two.
double median(std::vector<double> samples);

// percent in [0, 100], of at least one sample in ascending order; interpolates between two.
double percentile(std::span<const double> sorted, double percent);

// Kendall's tau-b of two rankings of the same things (Biometrika 33, 1945): of all pairs that
// neither ties, those ranked alike less those ranked otherwise, over the geometric mean of the
// pairs that each does not tie. In [-1, 1]; none where one ties all, a value is not a number, or
// there are not equally many of both.
// n log n comparisons (Knight, 1966).
std::optional<double> kendall_tau_b(std::span<const double> x, std::span<const double> y);

// Where 95 of 100 values of a statistic lie if its sample is drawn anew from itself (Efron's
// percentile bootstrap).
struct Interval {
  double low, high;
};
// statistic: of the samples with these indices, `count` of them, below count; none where it is not
// defined. The same seed draws the same. None unless it is defined for half of the draws.
std::optional<Interval> bootstrap_interval(
    size_t count, size_t draws, uint64_t seed,
    const std::function<std::optional<double>(std::span<const size_t>)>& statistic);

}  // namespace klens
