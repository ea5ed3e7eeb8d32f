#include "base/statistics.h"

#include <algorithm>
#include <cmath>

namespace klens {
namespace {

double mean_of(std::span<const double> samples) {
  double sum = 0;
  for (const double s : samples) sum += s;
  return sum / static_cast<double>(samples.size());
}

double squared_deviations(std::span<const double> samples) {
  const double mean = mean_of(samples);
  double squares = 0;
  for (const double s : samples) squares += (s - mean) * (s - mean);
  return squares;
}

}  // namespace

MeanError mean_error(double sum, double sum_of_squares, int64_t n) {
  const double mean = sum / static_cast<double>(n);
  if (n < 2) return {mean, 0};
  const double variance = std::max(0.0, sum_of_squares / static_cast<double>(n) - mean * mean);
  return {mean, std::sqrt(variance / static_cast<double>(n - 1))};
}

MeanError mean_error(std::span<const double> samples) {
  double sum = 0, squares = 0;
  for (const double s : samples) {
    sum += s;
    squares += s * s;
  }
  return mean_error(sum, squares, static_cast<int64_t>(samples.size()));
}

std::optional<double> standard_error(std::span<const double> samples) {
  if (samples.size() < 2) return std::nullopt;
  const auto count = static_cast<double>(samples.size());
  return std::sqrt(squared_deviations(samples) / (count - 1) / count);
}

std::optional<double> paired_standard_error(std::span<const double> a, std::span<const double> b) {
  if (a.size() != b.size()) return std::nullopt;
  std::vector<double> difference(a.size());
  for (size_t i = 0; i < a.size(); ++i) difference[i] = a[i] - b[i];
  return standard_error(difference);
}

double standard_deviation(std::span<const double> samples) {
  if (samples.size() < 2) return 0;
  return std::sqrt(squared_deviations(samples) / static_cast<double>(samples.size() - 1));
}

double median(std::vector<double> samples) {
  std::sort(samples.begin(), samples.end());
  return percentile(samples, 50);
}

std::optional<double> kendall_tau_b(std::span<const double> a, std::span<const double> b) {
  if (a.size() != b.size()) return std::nullopt;
  int64_t agree = 0, untied_a = 0, untied_b = 0;
  for (size_t i = 0; i < a.size(); ++i)
    for (size_t j = i + 1; j < a.size(); ++j) {
      const int by_a = (a[i] > a[j]) - (a[i] < a[j]), by_b = (b[i] > b[j]) - (b[i] < b[j]);
      agree += by_a * by_b;
      untied_a += by_a != 0;
      untied_b += by_b != 0;
    }
  if (untied_a == 0 || untied_b == 0) return std::nullopt;
  return static_cast<double>(agree) /
         std::sqrt(static_cast<double>(untied_a) * static_cast<double>(untied_b));
}

double percentile(std::span<const double> sorted, double percent) {
  const double at = percent / 100 * static_cast<double>(sorted.size() - 1);
  const size_t low = static_cast<size_t>(at), high = std::min(low + 1, sorted.size() - 1);
  return sorted[low] + (at - static_cast<double>(low)) * (sorted[high] - sorted[low]);
}

}  // namespace klens
