#include "quant/quantizers/hqq.h"

#include <algorithm>
#include <cmath>

#include "quant/quantizers/pack.h"
#include "quant/quantizers/rtn.h"

namespace klens {
namespace {

constexpr float kNorm = 0.7f, kFirstBeta = 10, kKappa = 1.01f;
constexpr int kTurns = 20;

// argmin over e of |e|^p + beta / 2 (e - x)^2, as the paper approximates it (its equation for
// W_e).
float shrink(float x, float beta) {
  const float size = std::fabs(x);
  if (size == 0) return 0;
  return std::copysign(std::max(size - std::pow(size, kNorm - 1) / beta, 0.0f), x);
}

// In the paper's terms: w is rounded to round(w / scale + zero), of `levels`.
Grid hqq_grid(std::span<const float> weights, const Levels& levels) {
  const Grid first = rtn_grid(weights, levels, true);
  if (!(first.scale > 0)) return first;
  const float scale = first.scale, count = static_cast<float>(weights.size());
  float zero = -first.min / scale, beta = kFirstBeta, least = INFINITY;
  for (int turn = 0; turn < kTurns; ++turn, beta *= kKappa) {
    float sum = 0, error = 0;
    for (const float w : weights) {
      const float q =
          std::clamp(std::nearbyint(w / scale + zero), static_cast<float>(levels.lowest),
                     static_cast<float>(levels.highest));
      const float lost = w - (q - zero) * scale;
      sum += q - (w - shrink(lost, beta)) / scale;
      error += std::fabs(lost);
    }
    if (!(error < least)) break;
    least = error;
    zero = sum / count;
  }
  return {scale, -zero * scale};
}

}  // namespace

PackedWeight quantize_hqq(const Format& format, const WeightView& source,
                          const InputStats& inputs) {
  if (format.group == 0 || !format.minimum) return quantize_rtn(format, source, inputs);
  const Levels levels = levels_of(format);
  return pack_integers(format, source,
                       [&](std::span<const float> w, int64_t) { return hqq_grid(w, levels); });
}

}  // namespace klens
