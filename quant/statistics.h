#pragma once
#include <optional>
#include <span>

namespace klens {

// Standard error of the mean of independent samples; none for fewer than two.
std::optional<double> standard_error(std::span<const double> samples);

// Standard error of mean(a) - mean(b), samples taken in pairs (the same windows). What a window
// does to both cancels, so it is far smaller than the errors of the two means suggest. None unless
// there are equally many of both, and at least two.
std::optional<double> paired_standard_error(std::span<const double> a, std::span<const double> b);

}  // namespace klens
