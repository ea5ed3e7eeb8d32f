#include "quant/shortlist.h"

#include <algorithm>
#include <cmath>

namespace klens {
namespace {

bool beats(const Option& a, const Option& b) {
  return a.bytes <= b.bytes && a.output_error <= b.output_error &&
         (a.bytes < b.bytes || a.output_error < b.output_error);
}

// How far option b lies below the line from a to c.
double gain(const Option& a, const Option& b, const Option& c) {
  const auto height = [](const Option& o) { return std::log(std::max(o.output_error, 1e-30)); };
  const double along =
      static_cast<double>(b.bytes - a.bytes) / static_cast<double>(c.bytes - a.bytes);
  return height(a) + along * (height(c) - height(a)) - height(b);
}

}  // namespace

std::vector<size_t> shortlist(std::span<const Option> options, size_t most) {
  std::vector<size_t> kept;
  for (size_t i = 0; i < options.size(); ++i) {
    const bool beaten =
        std::ranges::any_of(options, [&](const Option& other) { return beats(other, options[i]); });
    const bool twin = std::ranges::any_of(kept, [&](size_t k) {
      return options[k].bytes == options[i].bytes &&
             options[k].output_error == options[i].output_error;
    });
    if (!beaten && !twin) kept.push_back(i);
  }
  std::ranges::sort(kept, {}, [&](size_t i) { return options[i].bytes; });
  while (kept.size() > most) {
    size_t least = 1;
    const auto gain_of = [&](size_t k) {
      return gain(options[kept[k - 1]], options[kept[k]], options[kept[k + 1]]);
    };
    for (size_t k = 2; k + 1 < kept.size(); ++k)
      if (gain_of(k) < gain_of(least)) least = k;
    kept.erase(kept.begin() + static_cast<std::ptrdiff_t>(least));
  }
  std::ranges::sort(kept);
  return kept;
}

}  // namespace klens
