#include "engine/jobs/candidates.h"

#include <algorithm>

#include "engine/jobs/stages.h"
#include "engine/jobs/students.h"
#include "quant/output_error.h"
#include "quant/shortlist.h"

namespace klens {
namespace {

// Rows of a matrix at equal distances, as floats.
class RowSample {
 public:
  explicit RowSample(const WeightView& all)
      : count_(std::min(all.rows, kSampleRows)), values_(static_cast<size_t>(count_ * all.cols)) {
    for (int64_t r = 0; r < count_; ++r)
      expand_row(all, r * all.rows / count_, values_.data() + r * all.cols);
    unit_.view = {
        .layout = Layout::kRowsF32, .rows = count_, .cols = all.cols, .data = values_.data()};
  }
  RowSample(const RowSample&) = delete;

  const StoredUnit& unit() const { return unit_; }

 private:
  int64_t count_;
  std::vector<float> values_;
  StoredUnit unit_;
};

// A sample of a unit's outputs, and what it loses by choices.
class SampledOutputs {
 public:
  SampledOutputs(const StoredUnit& unit, const InputStats& inputs)
      : inputs_(inputs), rows_(unit.view), error_(rows_.unit().view, inputs) {}
  double loss(const Choice& choice) const {
    return error_.of(quantise_unit(rows_.unit(), choice, inputs_));
  }

 private:
  const InputStats& inputs_;
  RowSample rows_;
  OutputError error_;
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

// Formats without a grid are only rounded to.
const char* quantizer_for(const Format& format, const Quantizer& asked) {
  return (format.group == 0 ? kQuantizers[0] : asked).name;
}

// A unit's candidates, found from a sample of its outputs.
class Comparison {
 public:
  Comparison(const StoredUnit& unit, const Quantizer& quantizer, const InputStats& inputs)
      : unit_(unit), quantizer_(quantizer), sample_(unit, inputs) {}

  std::vector<Possible> run(const std::vector<const Format*>& formats, const Choice* pinned) {
    for (const Choice& choice : possible_choices(unit_, shortlisted(formats), quantizer_))
      add(choice);
    const auto is_pinned = [&](const Possible& p) { return p.choice == *pinned; };
    if (pinned != nullptr && std::ranges::none_of(possible_, is_pinned)) add(*pinned);
    return std::move(possible_);
  }

 private:
  void add(const Choice& choice) { possible_.push_back({choice, error_of(choice)}); }

  double error_of(Choice choice) {
    if (has_weights_of(unit_, choice)) return 0;
    choice.activation_bits = Choice().activation_bits;
    const auto [found, added] = errors_.try_emplace(choice, 0);
    if (added) found->second = sample_.loss(choice);
    return found->second;
  }

  std::vector<const Format*> shortlisted(const std::vector<const Format*>& formats) {
    if (formats.size() <= kMostCandidates + 1) return formats;
    std::vector<Option> options;
    std::vector<const Format*> others, kept{&kBaseFormat};
    for (const Format* format : formats) {
      if (format == &kBaseFormat) continue;
      others.push_back(format);
      options.push_back(
          {static_cast<int64_t>(packed_bytes(*format, unit_.view.rows, unit_.view.cols)),
           error_of({format->name, quantizer_for(*format, quantizer_)})});
    }
    for (const size_t i : shortlist(options, kMostCandidates)) kept.push_back(others[i]);
    return kept;
  }

  const StoredUnit& unit_;
  const Quantizer& quantizer_;
  SampledOutputs sample_;
  std::map<Choice, double> errors_;
  std::vector<Possible> possible_;
};

}  // namespace

double sampled_error(const StoredUnit& unit, const Choice& choice, const InputStats& inputs) {
  return SampledOutputs(unit, inputs).loss(choice);
}

std::vector<Choice> possible_choices(const StoredUnit& unit,
                                     const std::vector<const Format*>& formats,
                                     const Quantizer& quantizer) {
  std::vector<Choice> choices;
  for (const Format* format : formats) {
    Choice choice{format->name, quantizer_for(*format, quantizer)};
    choices.push_back(choice);
    if (format->activation_group == 0) continue;
    choice.activation_bits = kFineActivationBits;
    choices.push_back(choice);
  }
  if (unit.format == nullptr) return choices;
  const Choice stored = choice_as_stored(unit);
  if (std::ranges::find(choices, stored) == choices.end())
    choices.insert(choices.begin() + 1, stored);
  return choices;
}

std::vector<std::vector<Possible>> candidate_choices(const Model& model,
                                                     const std::vector<const Format*>& formats,
                                                     const Quantizer& quantizer,
                                                     const std::map<std::string, Choice>& pinned,
                                                     const UnitInputs& inputs, Progress& progress) {
  const size_t units = model.units().size();
  progress.stage(stages::kCompare, static_cast<double>(units));
  std::vector<std::vector<Possible>> possible;
  for (size_t u = 0; u < units; ++u) {
    const std::string& name = model.units()[u].name;
    const StoredUnit& unit = model.checkpoint().units.at(name);
    const auto pin = pinned.find(name);
    const InputStats stats = inputs.of(u, quantizer.sees);
    possible.push_back(
        Comparison(unit, quantizer, stats)
            .run(smaller_than_stored(unit, formats), pin == pinned.end() ? nullptr : &pin->second));
    progress.step();
  }
  return possible;
}

}  // namespace klens
