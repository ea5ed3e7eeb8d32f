#include "quant/quantizers/search.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "quant/quantizers/pack.h"
#include "quant/quantizers/rtn.h"

namespace klens {
namespace {

// Sums over a group that was rounded to the integers q of some grid, each weighted by h.
struct Moments {
  float h = 0, q = 0, qq = 0, w = 0, wq = 0;
};

// Sums side by side: compilers then use vectors, which for one sum they may not, as the order of
// additions is part of its value.
constexpr size_t kLanes = 8;
using Sums = std::array<float, kLanes>;

float total(const Sums& sums) {
  float all = 0;
  for (const float sum : sums) all += sum;
  return all;
}

Moments moments(std::span<const float> w, const float* h, const Grid& grid, const Levels& levels) {
  const float inverse = 1 / grid.scale;
  const auto lowest = static_cast<float>(levels.lowest);
  const auto highest = static_cast<float>(levels.highest);
  Sums sum_h{}, sum_q{}, sum_qq{}, sum_w{}, sum_wq{};
  const auto add = [&](const float* wi, const float* hi) {
    for (size_t lane = 0; lane < kLanes; ++lane) {
      const float x = (wi[lane] - grid.min) * inverse;
      const float above = x < lowest ? lowest : x;
      const float inside = above > highest ? highest : above;
      const float q = (inside + 0x1.8p23f) - 0x1.8p23f, hq = hi[lane] * q;
      sum_h[lane] += hi[lane];
      sum_q[lane] += hq;
      sum_qq[lane] += hq * q;
      sum_w[lane] += hi[lane] * wi[lane];
      sum_wq[lane] += hq * wi[lane];
    }
  };
  size_t i = 0;
  for (; i + kLanes <= w.size(); i += kLanes) add(&w[i], h + i);
  if (i < w.size()) {
    std::array<float, kLanes> rest_w{}, rest_h{};  // what is not there weighs nothing
    std::copy(w.begin() + static_cast<std::ptrdiff_t>(i), w.end(), rest_w.begin());
    std::copy(h + i, h + w.size(), rest_h.begin());
    add(rest_w.data(), rest_h.data());
  }
  return {total(sum_h), total(sum_q), total(sum_qq), total(sum_w), total(sum_wq)};
}

// A grid and how much of the weighted sum of squares it explains.
struct Fit {
  Grid grid;
  float gain = -1;
};

// The best scale for the integers, and the best minimum.
Fit least_squares(const Moments& m, bool minimum) {
  if (!minimum) {
    if (!(m.qq > 0)) return {};
    const float scale = m.wq / m.qq;
    return {{scale}, scale * m.wq};
  }
  const float determinant = m.h * m.qq - m.q * m.q;
  if (!(determinant > 1e-6f * m.h * m.qq)) return {};
  const float scale = (m.h * m.wq - m.q * m.w) / determinant;
  const float min = (m.qq * m.w - m.q * m.wq) / determinant;
  return {{scale, min}, scale * m.wq + min * m.w};
}

// Columns that nothing is multiplied by, as far as was seen, still count a little.
std::vector<float> weights_of(std::span<const float> importance, int64_t cols) {
  std::vector<float> h(static_cast<size_t>(cols), 1.0f);
  if (importance.empty()) return h;
  float sum = 0;
  for (const float x : importance) sum += x;
  const float mean = sum / static_cast<float>(cols);
  if (!(mean > 0) || !std::isfinite(mean)) return h;
  for (size_t c = 0; c < h.size(); ++c) h[c] = importance[c] / mean + 1e-3f;
  return h;
}

// Scales that are tried, in steps of a fraction of an integer at the grid's end.
constexpr int kSteps = 6, kRefinements = 2;
constexpr float kStep = 0.25f;

}  // namespace

Grid GridSearch::best(std::span<const float> w, const float* h) const {
  if (!minimum_) return around(rtn_grid(w, levels_, false), w, h);
  // Measured from their least, so that sums do not cancel where weights are far from zero.
  const Grid start = rtn_grid(w, levels_, true);
  std::vector<float> above(w.begin(), w.end());
  for (float& x : above) x -= start.min;
  const Grid grid = around({start.scale, 0}, above, h);
  return {grid.scale, grid.min + start.min};
}

Grid GridSearch::around(const Grid& start, std::span<const float> w, const float* h) const {
  if (start.scale == 0) return start;
  Fit best;
  const auto consider = [&](const Grid& grid) {
    const Fit fit = least_squares(moments(w, h, grid, levels_), minimum_);
    if (fit.grid.scale != 0 && fit.gain > best.gain) best = fit;
  };
  // Finer grids cut the largest weight off, wider ones do not reach the outermost integers.
  const auto reach = static_cast<float>(std::max(levels_.highest, -levels_.lowest));
  for (int step = -kSteps; step <= kSteps; ++step) {
    const float factor = reach / (reach + kStep * static_cast<float>(step));
    if (minimum_) {
      const float middle = start.min + start.scale * static_cast<float>(levels_.highest) / 2;
      consider({start.scale * factor, middle + (start.min - middle) * factor});
    } else {
      consider({start.scale * factor});
      consider({-start.scale * factor});
    }
  }
  for (int i = 0; i < kRefinements; ++i) consider(best.grid);
  return best.gain > 0 ? best.grid : start;
}

PackedWeight quantize_search(const Format& format, const WeightView& source,
                             const InputStats& inputs) {
  if (format.group == 0) return pack_halves(format, source);
  const std::vector<float> h = weights_of(inputs.squares, source.cols);
  const GridSearch search(levels_of(format), format.minimum);
  return pack_integers(format, source, [&](std::span<const float> w, int64_t column) {
    return search.best(w, h.data() + column);
  });
}

}  // namespace klens
