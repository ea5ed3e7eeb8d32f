#include "engine/sequence.h"

#include <algorithm>
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

float* fixed_state(const Sequence& sequence, int64_t offset, int64_t size, Scratch& scratch) {
  if (!sequence.state->fixed.empty()) return sequence.state->fixed.data() + offset;
  float* zeros = scratch.take<float>(size);
  std::fill_n(zeros, size, 0.0f);
  return zeros;
}

const RopeTables::Table& RopeTables::get(size_t rope, const RopeSpec& spec,
                                         std::span<const Sequence> sequences) {
  for (const auto& [known, table] : tables_)
    if (known == rope) return table;
  Table table;
  for (const Sequence& sequence : sequences) {
    const std::vector<float> inv_freq = frequencies(spec, sequence.horizon);
    for (int64_t t = 0; t < sequence.tokens; ++t)
      for (const float f : inv_freq) {
        const float angle = static_cast<float>(sequence.position + t) * f;
        table.cos.push_back(std::cos(angle) * spec.scale);
        table.sin.push_back(std::sin(angle) * spec.scale);
      }
  }
  return tables_.emplace_back(rope, std::move(table)).second;
}

}  // namespace klens
