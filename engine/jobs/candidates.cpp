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

// A sample of the outputs of a model's unit, and what it loses by choices, unless that is known.
class SampledOutputs {
 public:
  SampledOutputs(const Model& model, size_t unit, const InputStats& inputs, Journal& journal)
      : name_(model.units()[unit].name),
        unit_(model.checkpoint().units.at(name_)),
        inputs_(inputs),
        journal_(journal) {}

  const StoredUnit& unit() const { return unit_; }

  double loss(const Choice& choice) {
    const std::string name = "outputs " + name_ + " " + text_of(choice);
    if (const auto found = find_numbers(journal_, name, 1)) return found->front();
    if (!sample_) sample_.emplace(unit_.view, inputs_);
    const double loss = sample_->error.of(quantise_unit(sample_->rows.unit(), choice, inputs_));
    keep_numbers(journal_, name, {&loss, 1});
    return loss;
  }

 private:
  struct Sample {
    Sample(const WeightView& view, const InputStats& inputs)
        : rows(view), error(rows.unit().view, inputs) {}
    RowSample rows;
    OutputError error;
  };
  std::string name_;
  const StoredUnit& unit_;
  const InputStats& inputs_;
  Journal& journal_;
  std::optional<Sample> sample_;
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
  Comparison(const Quantizer& quantizer, SampledOutputs& sample)
      : unit_(sample.unit()), quantizer_(quantizer), sample_(sample) {}

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
  SampledOutputs& sample_;
  std::map<Choice, double> errors_;
  std::vector<Possible> possible_;
};

}  // namespace

double sampled_error(const Model& model, size_t unit, const Choice& choice,
                     const InputStats& inputs, Journal& journal) {
  return SampledOutputs(model, unit, inputs, journal).loss(choice);
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
                                                     const UnitInputs& inputs, Progress& progress,
                                                     Journal& journal) {
  const size_t units = model.units().size();
  progress.stage(stages::kCompare, static_cast<double>(units));
  std::vector<std::vector<Possible>> possible;
  for (size_t u = 0; u < units; ++u) {
    const std::string& name = model.units()[u].name;
    const auto pin = pinned.find(name);
    const InputStats stats = inputs.of(u, quantizer.sees);
    SampledOutputs sample(model, u, stats, journal);
    possible.push_back(Comparison(quantizer, sample)
                           .run(smaller_than_stored(sample.unit(), formats),
                                pin == pinned.end() ? nullptr : &pin->second));
    progress.step();
  }
  return possible;
}

}  // namespace klens
