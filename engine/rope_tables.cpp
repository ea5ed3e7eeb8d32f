#include "engine/rope_tables.h"

#include <cmath>

#include "loaders/architectures/spec_builder.h"

namespace klens {
namespace {

// The frequencies for a text of `length` tokens (arXiv 2309.00071, sec. 3.3, "dynamic NTK").
std::vector<float> frequencies(const RopeSpec& spec, int64_t length) {
  if (!spec.dynamic || length <= spec.dynamic->max_position) return spec.inv_freq;
  const RopeSpec::Dynamic& dynamic = *spec.dynamic;
  const int64_t dim = 2 * static_cast<int64_t>(spec.inv_freq.size());
  const double stretch =
      dynamic.factor * static_cast<double>(length) / static_cast<double>(dynamic.max_position) -
      (dynamic.factor - 1);
  const double exponent = static_cast<double>(dim) / static_cast<double>(dim - 2);
  return rope_frequencies(dynamic.base * std::pow(stretch, exponent), dim);
}

}  // namespace

RopeTable make_rope_table(const RopeSpec& spec, std::span<const Sequence> sequences, Lane& lane) {
  std::vector<float> cos, sin;  // [rows][pairs]
  for (const Sequence& sequence : sequences) {
    const std::vector<float> inv_freq = frequencies(spec, sequence.horizon);
    for (int64_t t = 0; t < sequence.tokens; ++t)
      for (const float f : inv_freq) {
        const float angle = static_cast<float>(sequence.position + t) * f;
        cos.push_back(std::cos(angle) * spec.scale);
        sin.push_back(std::sin(angle) * spec.scale);
      }
  }
  const int64_t pairs = static_cast<int64_t>(spec.inv_freq.size());
  const int64_t rows = static_cast<int64_t>(cos.size()) / pairs;
  const RopeTable table{lane.take(rows, pairs), lane.take(rows, pairs)};
  lane.write(cos.data(), table.cos);
  lane.write(sin.data(), table.sin);
  return table;
}

}  // namespace klens
