#include "quant/quantizers/rtn.h"

#include <algorithm>

#include "kernels/magnitude.h"
#include "quant/quantizers/pack.h"

namespace klens {

Grid rtn_grid(std::span<const float> w, const Levels& levels, bool minimum) {
  const auto lowest = static_cast<float>(levels.lowest);
  const auto highest = static_cast<float>(levels.highest);
  if (levels.lowest == -levels.highest)
    return {largest_magnitude(w.data(), static_cast<int64_t>(w.size())) / highest};
  float least = w[0], most = w[0];
  for (const float x : w) {
    least = std::min(least, x);
    most = std::max(most, x);
  }
  if (minimum) return {most / highest - least / highest, least};
  return {(-least >= most ? least : most) / lowest};
}

PackedWeight quantize_rtn(const Format& format, const WeightView& source, const InputStats&) {
  if (format.group == 0) return pack_halves(format, source);
  const Levels levels = levels_of(format);
  return pack_integers(format, source, [&](std::span<const float> w, int64_t) {
    return rtn_grid(w, levels, format.minimum);
  });
}

}  // namespace klens
