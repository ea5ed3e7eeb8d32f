#include "base/statistics.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

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

double pairs_of(size_t n) {
  return static_cast<double>(n) * (static_cast<double>(n) - 1) / 2;  // exact below 2^26
}

// Pairs within runs of equal values.
template <class Equal>
double tied_pairs(size_t n, const Equal& equal) {
  double tied = 0;
  for (size_t first = 0; first < n;) {
    size_t end = first + 1;
    while (end < n && equal(first, end)) ++end;
    tied += pairs_of(end - first);
    first = end;
  }
  return tied;
}

// Sorts; returns the pairs that were the wrong way round.
double count_inversions(std::span<double> values, std::span<double> room) {
  if (values.size() < 2) return 0;
  const size_t half = values.size() / 2;
  double inversions = count_inversions(values.first(half), room.first(half)) +
                      count_inversions(values.subspan(half), room.subspan(half));
  size_t left = 0, right = half;
  for (double& to : room) {
    const bool from_right = right < values.size() && (left == half || values[right] < values[left]);
    if (from_right) inversions += static_cast<double>(half - left);
    to = values[from_right ? right++ : left++];
  }
  std::copy(room.begin(), room.end(), values.begin());
  return inversions;
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

double percentile(std::span<const double> sorted, double percent) {
  const double at = percent / 100 * static_cast<double>(sorted.size() - 1);
  const size_t low = static_cast<size_t>(at), high = std::min(low + 1, sorted.size() - 1);
  return sorted[low] + (at - static_cast<double>(low)) * (sorted[high] - sorted[low]);
}

std::optional<double> kendall_tau_b(std::span<const double> x, std::span<const double> y) {
  if (x.size() != y.size()) return std::nullopt;
  const size_t n = x.size();
  const auto is_nan = [](double value) { return std::isnan(value); };
  if (std::ranges::any_of(x, is_nan) || std::ranges::any_of(y, is_nan)) return std::nullopt;
  std::vector<size_t> order(n);
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::sort(
      order, [&](size_t a, size_t b) { return std::pair(x[a], y[a]) < std::pair(x[b], y[b]); });
  std::vector<double> by_x(n), room(n);
  for (size_t i = 0; i < n; ++i) by_x[i] = y[order[i]];
  const double tied_x =
      tied_pairs(n, [&](size_t a, size_t b) { return x[order[a]] == x[order[b]]; });
  const double tied_both = tied_pairs(
      n, [&](size_t a, size_t b) { return x[order[a]] == x[order[b]] && by_x[a] == by_x[b]; });
  const double inversions = count_inversions(by_x, room);
  const double tied_y = tied_pairs(n, [&](size_t a, size_t b) { return by_x[a] == by_x[b]; });
  const double all = pairs_of(n), scale = std::sqrt((all - tied_x) * (all - tied_y));
  if (!(scale > 0)) return std::nullopt;
  return (all - tied_x - tied_y + tied_both - 2 * inversions) / scale;
}

std::optional<Interval> bootstrap_interval(
    size_t count, size_t draws, uint64_t seed,
    const std::function<std::optional<double>(std::span<const size_t>)>& statistic) {
  std::mt19937_64 random(seed);
  std::vector<size_t> picks(count);
  std::vector<double> values;
  for (size_t draw = 0; draw < draws && count > 0; ++draw) {
    for (size_t& pick : picks) pick = random() % count;
    if (const std::optional<double> value = statistic(picks)) values.push_back(*value);
  }
  if (values.empty() || 2 * values.size() < draws) return std::nullopt;
  std::ranges::sort(values);
  return Interval{percentile(values, 2.5), percentile(values, 97.5)};
}

}  // namespace klens
