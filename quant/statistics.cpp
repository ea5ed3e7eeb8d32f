#include "quant/statistics.h"

#include <cmath>
#include <vector>

namespace klens {

std::optional<double> standard_error(std::span<const double> samples) {
  if (samples.size() < 2) return std::nullopt;
  const auto count = static_cast<double>(samples.size());
  double sum = 0;
  for (double s : samples) sum += s;
  const double mean = sum / count;
  double squares = 0;
  for (double s : samples) squares += (s - mean) * (s - mean);
  return std::sqrt(squares / (count - 1) / count);
}

std::optional<double> paired_standard_error(std::span<const double> a, std::span<const double> b) {
  if (a.size() != b.size()) return std::nullopt;
  std::vector<double> difference(a.size());
  for (size_t i = 0; i < a.size(); ++i) difference[i] = a[i] - b[i];
  return standard_error(difference);
}

}  // namespace klens
