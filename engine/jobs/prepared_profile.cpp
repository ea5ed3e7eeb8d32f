#include "engine/jobs/prepared_profile.h"

#include <cmath>

#include "loaders/klens_file.h"
#include "quant/planner.h"
#include "quant/prediction.h"

namespace klens {
namespace {

// A unit that becomes what it is, and FP16 storage of FP16 weights, change nothing: there is
// nothing to measure.
bool lossless(const StoredUnit& unit, const Choice& choice) {
  return is_as_stored(unit, choice) ||
         (find_format(choice.format)->layout == Layout::kTilesF16 &&
          (unit.view.layout == Layout::kRowsF16 || unit.view.layout == Layout::kTilesF16));
}

template <class Rows>
std::string longest_name(const Rows& rows) {
  std::string longest;
  for (const auto& row : rows)
    if (longest.size() < std::string_view(row.name).size()) longest = row.name;
  return longest;
}

// A plan whose header is as long as any plan's: the longest names for each unit, all digits used.
Plan longest_plan(const Model& model) {
  constexpr double kLongest = -1.2345678901234567e-100;
  Plan plan{.method = longest_name(kPlanMethods),
            .budget = std::string(64, 'x'),
            .bytes = INT64_MIN,
            .bpw = kLongest,
            .predicted_kl = kLongest,
            .measured_kl = kLongest,
            .measured_kl_stderr = kLongest,
            .predicted_tok_s = kLongest,
            .optimality_gap = kLongest,
            .units = {}};
  for (const LinearSpec& unit : model.units())
    plan.units[unit.name] = {longest_name(kFormats), longest_name(kQuantizers),
                             kFineActivationBits};
  return plan;
}

// errors: of the unit's candidates that can be measured, else 0. It is measured on one window of
// `every`.
void add_students(size_t u, const Unit& unit, std::span<const double> errors, size_t measured,
                  size_t every, Prepared& prepared) {
  const std::vector<size_t> picked = worth_measuring(errors, measured);
  const auto error_of = [&](size_t c) { return errors[c]; };
  const size_t first = prepared.students.size();
  for (const size_t c : picked) {
    prepared.students.push_back({u, unit.candidates[c].choice, every});
    prepared.places.emplace_back(u, c);
  }
  if (measured == 0 || picked.size() < 2) return;
  const auto at = [&](auto found) { return first + static_cast<size_t>(found - picked.begin()); };
  Student& finest = prepared.students[at(std::ranges::min_element(picked, {}, error_of))];
  finest.every = kFinestEvery;
  finest.like = at(std::ranges::max_element(picked, {}, error_of));
}

}  // namespace

const Quantizer& parse_quantizer(const std::string& name) {
  const Quantizer* row = find_row(kQuantizers, name);
  if (row == nullptr)
    throw Error(ErrorKind::kBadArgument, not_one_of("quantizer", name, kQuantizers));
  return *row;
}

void set_exact(Candidate& candidate, size_t windows) {
  for (const Metric* metric : kMetrics) candidate.value(*metric) = metric->lossless;
  candidate.kl_stderr = 0;
  candidate.kl_windows.assign(windows, 0.0);
}

double mean_weights(const Model& model) {
  double weights = 0;
  for (const LinearSpec& unit : model.units())
    weights += static_cast<double>(unit.rows * unit.cols);
  return weights / static_cast<double>(model.units().size());
}

// Where plans balance, a matrix of w weights loses in proportion to w, so that a plan's error is
// least for the time if each is measured on windows in proportion to the root of w (Neyman's
// allocation). One in so many; of a matrix as large as the mean, and of larger ones, all.
size_t sparing(double weights, double mean) {
  const double every = std::sqrt(mean / weights);
  return every < 1.5 ? 1 : every < 3 ? 2 : kFinestEvery;
}

Prepared prepare(const Model& model, const std::vector<std::vector<Possible>>& possible,
                 size_t measured, bool rounded, bool spare) {
  const Checkpoint& checkpoint = model.checkpoint();
  Prepared result;
  Profile& profile = result.profile;
  profile.model_name = checkpoint.name;
  profile.architecture = checkpoint.spec.architecture;
  profile.parameters = checkpoint.spec.parameters();
  profile.activations = activations_name(model.options().activations);
  profile.fixed_bytes = static_cast<int64_t>(klens_fixed_bytes(checkpoint));
  int64_t provenance = 1024;  // more than quantize ever writes there, but for the source's own
  for (const auto& [key, value] : checkpoint.provenance)
    provenance += static_cast<int64_t>(2 * (key.size() + value.size()) + 32);
  profile.header_bytes = static_cast<int64_t>(klens_header_bytes(
                             checkpoint, {.plan = longest_plan(model), .provenance = {}})) +
                         provenance;
  const double mean = mean_weights(model);
  for (size_t u = 0; u < model.units().size(); ++u) {
    const LinearSpec& spec = model.units()[u];
    Unit unit{.name = spec.name,
              .kind = spec.kind,
              .block = spec.block,
              .rows = spec.rows,
              .cols = spec.cols,
              .weights = {},
              .candidates = {}};
    const StoredUnit& stored = checkpoint.units.at(spec.name);
    std::vector<double> errors;  // of those that can be measured
    for (const auto& [choice, error] : possible[u]) {
      Candidate candidate;
      candidate.choice = choice;
      candidate.bytes =
          static_cast<int64_t>(packed_bytes(*find_format(choice.format), spec.rows, spec.cols));
      candidate.others[kOutputError] = lossless(stored, choice) ? 0 : error;
      // What exact activations save follows from what those of 8 bits lose.
      const bool measurable = measured == 0 && !rounded
                                  ? choice.activation_bits == Choice().activation_bits
                                  : rounds_activations(choice);
      errors.push_back(measurable ? *candidate.others[kOutputError] : 0);
      unit.candidates.push_back(candidate);
    }
    const double weights = static_cast<double>(spec.rows * spec.cols);
    add_students(u, unit, errors, measured, spare ? sparing(weights, mean) : 1, result);
    profile.units.push_back(std::move(unit));
  }
  return result;
}

Profile unmeasured_profile(const Model& model, const std::vector<const Format*>& formats,
                           const std::string& quantizer) {
  std::vector<std::vector<Possible>> possible;
  for (const LinearSpec& unit : model.units()) {
    possible.emplace_back();
    for (Choice& choice : possible_choices(model.checkpoint().units.at(unit.name), formats,
                                           parse_quantizer(quantizer)))
      possible.back().push_back({std::move(choice)});
  }
  return prepare(model, possible, 0).profile;
}

Profile costless_profile(const Model& model, const std::vector<const Format*>& formats,
                         const std::string& quantizer) {
  Profile profile = unmeasured_profile(model, formats, quantizer);
  for (Unit& unit : profile.units) {
    for (Candidate& candidate : unit.candidates) set_exact(candidate, 0);
    for (const Metric* metric : kMetrics)
      if (!metric->of_candidates()) unit.weights[*metric] = 0;
  }
  return profile;
}

}  // namespace klens
