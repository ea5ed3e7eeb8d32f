#include "engine/jobs/candidates.h"

#include <algorithm>

#include "engine/jobs/students.h"
#include "quant/output_error.h"
#include "quant/shortlist.h"

namespace klens {
namespace {

// Outputs of a unit that are looked at.
constexpr int64_t kSampleRows = 256;

// Rows of a matrix at equal distances, as floats.
struct RowSample {
  explicit RowSample(const WeightView& all)
      : count(std::min(all.rows, kSampleRows)),
        values(static_cast<size_t>(count * all.cols)),
        view({.layout = Layout::kRowsF32, .rows = count, .cols = all.cols, .data = values.data()}) {
    for (int64_t r = 0; r < count; ++r)
      expand_row(all, r * all.rows / count, values.data() + r * all.cols);
  }
  RowSample(const RowSample&) = delete;

  int64_t count;
  std::vector<float> values;
  WeightView view;
};

// Without those that would make a unit larger, or no smaller, than it is stored, to become worse.
std::vector<const Format*> smaller_than_stored(const StoredUnit& unit,
                                               const std::vector<const Format*>& formats) {
  const auto bytes = [&](const Format& format) {
    return packed_bytes(format, unit.view.rows, unit.view.cols);
  };
  std::vector<const Format*> kept;
  for (const Format* format : formats)
    if (format == &kBaseFormat || unit.format == nullptr || bytes(*format) < bytes(*unit.format))
      kept.push_back(format);
  return kept;
}

std::vector<const Format*> shortlisted(const StoredUnit& unit,
                                       const std::vector<const Format*>& formats,
                                       const std::string& quantizer, const InputStats& inputs) {
  const RowSample sample(unit.view);
  StoredUnit sampled;
  sampled.view = sample.view;
  std::vector<Option> options;
  std::vector<const Format*> others;
  for (const Format* format : formats) {
    if (format == &kBaseFormat) continue;
    const Choice choice{format->name, quantizer};
    others.push_back(format);
    options.push_back({static_cast<int64_t>(packed_bytes(*format, unit.view.rows, unit.view.cols)),
                       output_error(quantise_unit(sampled, choice, inputs), sample.view, inputs)});
  }
  std::vector<const Format*> kept{&kBaseFormat};
  for (const size_t i : shortlist(options, kMostCandidates)) kept.push_back(others[i]);
  return kept;
}

void keep(const Format* format, std::vector<const Format*>& kept) {
  if (std::ranges::find(kept, format) == kept.end()) kept.push_back(format);
}

}  // namespace

std::vector<std::vector<const Format*>> candidate_formats(
    const Model& model, const std::vector<const Format*>& formats, const std::string& quantizer,
    const std::map<std::string, Choice>& pinned, const UnitInputs& inputs, Progress& progress) {
  const size_t units = model.units().size();
  progress.stage("compare formats by what outputs lose", static_cast<double>(units));
  std::vector<std::vector<const Format*>> kept;
  for (size_t u = 0; u < units; ++u) {
    const std::string& name = model.units()[u].name;
    const StoredUnit& unit = model.checkpoint().units.at(name);
    kept.push_back(smaller_than_stored(unit, formats));
    if (kept.back().size() > kMostCandidates + 1)
      kept.back() = shortlisted(unit, kept.back(), quantizer,
                                inputs.of(u, Choice{kBaseFormat.name, quantizer}));
    if (const auto pin = pinned.find(name); pin != pinned.end() && !is_as_stored(unit, pin->second))
      keep(find_format(pin->second.format), kept.back());
    progress.step();
  }
  return kept;
}

}  // namespace klens
