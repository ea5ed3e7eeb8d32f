#pragma once
#include <cstdint>
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

// Kendall's tau-b of pairs (a[i], b[i]): whether both put the same things first. 1: the same order;
// -1: the opposite; ties count for neither. None where one of them has a single value, or unless
// there are equally many of both and at least two. Takes n^2 / 2 comparisons.
std::optional<double> kendall_tau_b(std::span<const double> a, std::span<const double> b);

// percent in [0, 100], of at least one sample in ascending order; interpolates between two.
double percentile(std::span<const double> sorted, double percent);

}  // namespace klens
