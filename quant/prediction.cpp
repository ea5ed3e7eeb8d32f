#include "quant/prediction.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "quant/metrics.h"

namespace klens {
namespace {

// A measured candidate: what its weights do to outputs, and the part of its KL that is theirs.
struct Point {
  double error, kl;
  const Candidate* candidate;
};

// Of candidates on the integer path, with activations of so many bits.
std::vector<Point> points_of(const Unit& unit, int activation_bits) {
  std::vector<Point> points;
  for (const Candidate& c : unit.candidates) {
    const double error = c.others[kOutputError].value_or(0);
    if (!c.predicted && c.choice.activation_bits == activation_bits &&
        find_format(c.choice.format)->activation_group != 0 && error > 0 && c.kl &&
        std::isfinite(*c.kl) && *c.kl > 0)
      points.push_back({error, *c.kl, &c});
  }
  std::ranges::stable_sort(points, {}, &Point::error);
  return points;
}

// The KL of activations of 8 bits: what the finest point loses beyond its weights. Theirs is in
// proportion to what those of an exact point lose (with activations of 16 bits), or else on the
// line to a point whose weights clearly lose more. No less than nothing, and not all that was
// measured.
double activations_of(std::span<const Point> points, std::span<const Point> exact) {
  constexpr double kClearly = 4;
  if (points.empty()) return 0;
  const Point& finest = points.front();
  double weights = finest.kl;
  if (!exact.empty()) {
    weights = exact.front().kl * finest.error / exact.front().error;
  } else {
    const auto clear = std::ranges::find_if(
        points, [&](const Point& point) { return point.error >= kClearly * finest.error; });
    const Point& other = clear == points.end() ? points.back() : *clear;
    if (other.error > finest.error)
      weights = (other.kl - finest.kl) / (other.error - finest.error) * finest.error;
  }
  return std::clamp(finest.kl - weights, 0.0, finest.kl * (1 - 1e-6));
}

// The weights' part of what was measured, by error. A point of which activations are nearly all
// says nothing of weights, unless there is no other.
std::vector<Point> weights_of(std::span<const Point> points, std::vector<Point> exact,
                              double activations) {
  constexpr double kTells = 0.25;
  std::vector<Point> weights = std::move(exact);
  for (const Point& point : points) {
    const double part = point.kl - activations;
    const bool only = weights.empty() && &point == &points.back();
    if (part >= kTells * point.kl || only)
      weights.push_back({point.error, std::max(part, 1e-6 * point.kl), point.candidate});
  }
  std::ranges::stable_sort(weights, {}, &Point::error);
  return weights;
}

// The KL of weights at an error: on the line through the points around it, in proportion beyond.
double kl_at(double error, std::span<const Point> points) {
  const auto high =
      std::ranges::find_if(points, [&](const Point& point) { return point.error >= error; });
  if (high == points.end()) return points.back().kl * error / points.back().error;
  if (high == points.begin()) return high->kl * error / high->error;
  const Point& low = *(high - 1);
  const double along = std::log(error / low.error) / std::log(high->error / low.error);
  return std::exp(std::log(low.kl) + along * std::log(high->kl / low.kl));
}

const Candidate& nearest(double error, std::span<const Point> points) {
  return *std::ranges::min_element(points, {}, [&](const Point& point) {
            return std::fabs(std::log(point.error / error));
          })->candidate;
}

// A unit that no token came to (an expert) loses nothing, whatever it becomes.
void predict_nothing(Unit& unit) {
  const auto measured = std::ranges::find_if(unit.candidates, [](const Candidate& c) {
    return !c.predicted && rounds_activations(c.choice) && c.others[kOutputError].value_or(0) > 0 &&
           c.kl == 0.0;
  });
  if (measured == unit.candidates.end()) return;
  for (Candidate& c : unit.candidates) {
    if (c.kl && !c.predicted) continue;
    c.predicted = true;
    c.kl = c.kl_stderr = 0;
    c.kl_windows = measured->kl_windows;
  }
}

void predict(double activations, std::span<const Point> points, Candidate& candidate) {
  const double error = *candidate.others[kOutputError];
  candidate.predicted = true;
  candidate.kl = (error > 0 ? kl_at(error, points) : 0) +
                 (rounds_activations(candidate.choice) ? activations : 0);
  // Windows differ as those of the nearest that was measured.
  const Candidate& like = nearest(std::max(error, 1e-30), points);
  const double scale = *candidate.kl / *like.kl;
  if (like.kl_stderr) candidate.kl_stderr = scale * *like.kl_stderr;
  candidate.kl_windows = like.kl_windows;
  for (double& kl : candidate.kl_windows) kl *= scale;
}

}  // namespace

std::vector<size_t> worth_measuring(std::span<const double> errors, size_t most) {
  std::vector<size_t> order;
  for (size_t i = 0; i < errors.size(); ++i)
    if (errors[i] > 0) order.push_back(i);
  if (most != 0 && order.size() > most) {
    std::ranges::stable_sort(order, std::greater<>(), [&](size_t i) { return errors[i]; });
    const double high = std::log(errors[order.front()]), low = std::log(errors[order.back()]);
    std::vector<size_t> picked;
    for (size_t k = 0; k < most; ++k) {
      const double along = most == 1 ? 0 : static_cast<double>(k) / static_cast<double>(most - 1);
      const auto best = std::ranges::min_element(order, {}, [&](size_t i) {
        return std::fabs(std::log(errors[i]) - high - along * (low - high));
      });
      picked.push_back(*best);
      order.erase(best);
    }
    order = picked;
  }
  std::ranges::sort(order);
  return order;
}

void take_out_reference(Unit& unit, const Choice& reference, double error) {
  const std::vector<Point> points = points_of(unit, Choice().activation_bits);
  if (points.size() < 2 || !(points.back().error > points.front().error)) return;
  const double slope =
      (points.back().kl - points.front().kl) / (points.back().error - points.front().error);
  const double added = std::max(slope * error, 0.0);
  for (Candidate& c : unit.candidates) {
    if (!c.kl || c.predicted || !(*c.kl > 0)) continue;
    const bool same =
        c.choice.format == reference.format && c.choice.quantizer == reference.quantizer;
    // It is an estimate.
    const double part = same ? 1 + added / *c.kl : std::max(1 - added / *c.kl, 0.5);
    *c.kl *= part;
    if (c.kl_stderr) *c.kl_stderr *= part;
    for (double& kl : c.kl_windows) kl *= part;
  }
}

void predict_kls(Unit& unit) {
  const std::vector<Point> points = points_of(unit, Choice().activation_bits);
  std::vector<Point> exact = points_of(unit, kFineActivationBits);
  if (points.empty()) return predict_nothing(unit);
  const double activations = activations_of(points, exact);
  const std::vector<Point> weights = weights_of(points, std::move(exact), activations);
  for (Candidate& c : unit.candidates)
    if ((!c.kl || c.predicted) && c.others[kOutputError]) predict(activations, weights, c);
}

std::vector<std::pair<size_t, size_t>> predicted_choices(const Profile& profile, const Plan& plan) {
  std::vector<std::pair<size_t, size_t>> found;
  for (size_t u = 0; u < profile.units.size(); ++u) {
    const Unit& unit = profile.units[u];
    const auto chosen =
        std::ranges::find(unit.candidates, plan.units.at(unit.name), &Candidate::choice);
    if (chosen == unit.candidates.end() || !chosen->predicted ||
        !(chosen->others[kOutputError].value_or(0) > 0))
      continue;
    found.emplace_back(u, static_cast<size_t>(chosen - unit.candidates.begin()));
  }
  return found;
}

}  // namespace klens
