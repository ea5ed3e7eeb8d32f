#include "engine/jobs/quantize_job.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <regex>

#include "engine/jobs/decode_times.h"
#include "engine/jobs/forecast.h"
#include "engine/jobs/profile_state.h"
#include "engine/jobs/refine.h"
#include "engine/jobs/request_check.h"
#include "engine/jobs/stages.h"
#include "engine/version.h"
#include "loaders/klens_file.h"
#include "loaders/output_path.h"
#include "loaders/profile_json.h"
#include "quant/quantizers/pack.h"
#include "quant/unit_name.h"

namespace klens {
namespace {

constexpr int64_t kHeldOutWindows = 16;
constexpr const char *kHeldOut = "held-out",
                     *kMaybeSeen = "the text given, which the plan may have been made from";

void check_choice(const Choice& choice, const std::string& unit, const Model& model) {
  const bool held = has_weights_of(model.checkpoint().units.at(unit), choice);
  if (held && knows_activation_bits(choice)) return;
  const std::string what = "the plan's choice for unit " + unit + ": ";
  if (choice.quantizer == kStored && !held)
    throw Error(ErrorKind::kBadArgument,
                what + "\"" + kStored + "\" means what a model holds already, and " +
                    model.checkpoint().path + " does not hold it in " + choice.format +
                    "; name a quantizer of " + names_of(kQuantizers));
  if (const std::string why = unknown_part(choice); !why.empty())
    throw Error(ErrorKind::kBadArgument, what + why);
}

void check_covers(const Plan& plan, const Model& model) {
  std::map<std::string, Choice> left = plan.units;
  for (const LinearSpec& unit : model.units()) {
    const auto found = left.find(unit.name);
    if (found == left.end())
      throw Error(ErrorKind::kBadArgument, "the plan has no format for unit " + unit.name + " of " +
                                               model.checkpoint().path +
                                               "; make one from a profile of that model");
    check_choice(found->second, unit.name, model);
    left.erase(found);
  }
  if (!left.empty())
    throw Error(ErrorKind::kBadArgument, "the plan names unit " + left.begin()->first + ", which " +
                                             model.checkpoint().path +
                                             " does not have; it was made for another model");
}

// The bytes of a plan whose formats may have been changed by hand.
void count_bytes(const Model& model, const Profile& profile, Plan& plan) {
  plan.bytes = profile.fixed_bytes;
  for (const LinearSpec& unit : model.units())
    plan.bytes += static_cast<int64_t>(
        packed_bytes(*find_format(plan.units.at(unit.name).format), unit.rows, unit.cols));
  plan.bpw = bits_per_weight(profile, plan.bytes);
}

struct Made {
  Plan plan;
  Profile profile;  // units and candidates; measured unless the plan needed none
  std::optional<PlanUnits> units = std::nullopt;
  Windows windows;   // to judge the plan by; empty: none are left, or none are wanted
  std::string text;  // what they are
  int rounds = 0;
  bool inputs_unknown = false;
  std::vector<double> checked;
  bool unchecked = false;
  std::optional<Race> race;
};

// What was said of a plan holds for the plan as it was made, and not for one that was changed.
void forget_figures(Plan& plan) {
  plan.method = "given";
  plan.budget.clear();
  plan.predicted_kl = plan.measured_kl = plan.measured_kl_stderr = plan.optimality_gap = {};
}

// A plan may choose for a matrix whose rows are several units here, as those of earlier versions
// do: that is a choice for each of them.
void spread_over_units(const Model& model, Plan& plan) {
  for (const MatrixSpec& matrix : model.spec().matrices) {
    const auto found = matrix.units > 1 ? plan.units.find(matrix.name) : plan.units.end();
    if (found == plan.units.end()) continue;
    for (UnitId u = matrix.first_unit; u < matrix.first_unit + matrix.units; ++u)
      if (!plan.units.emplace(model.units()[u].name, found->second).second)
        throw Error(ErrorKind::kBadArgument, "the plan names both " + matrix.name + " and " +
                                                 model.units()[u].name +
                                                 ", which is a part of it; leave one out");
    plan.units.erase(matrix.name);
  }
}

// A ready plan with the pinned choices in it. One whose bytes are not what it says was edited.
Plan given_plan(const Model& model, const Profile& profile, const std::string& json,
                const std::map<std::string, Choice>& pinned) {
  Plan plan = plan_from_json(json, "plan");
  spread_over_units(model, plan);
  check_covers(plan, model);
  const int64_t said = plan.bytes;
  count_bytes(model, profile, plan);
  bool changed = said != 0 && said != plan.bytes;
  for (const auto& [name, choice] : pinned) {
    changed = changed || plan.units.at(name) != choice;
    plan.units[name] = choice;
  }
  if (changed) forget_figures(plan);
  return plan;
}

// What the model is already, but for the pinned choices.
Plan kept_plan(const Model& model, const std::map<std::string, Choice>& pinned) {
  Plan plan;
  plan.method = "given";
  for (const auto& [name, unit] : model.checkpoint().units)
    plan.units[name] = choice_as_stored(unit);
  for (const auto& [name, choice] : pinned) plan.units[name] = choice;
  return plan;
}

// Whether a plan leaves all weights what they are.
bool changes_nothing(const Plan& plan, const Model& model) {
  const auto& units = model.checkpoint().units;
  return std::all_of(plan.units.begin(), plan.units.end(), [&](const auto& unit) {
    return is_as_stored(units.at(unit.first), unit.second);
  });
}

void check_keep(const QuantizeOptions& options) {
  const PlanRequest& request = options.request;
  const Budget& budget = request.budget;
  if (!options.keep || (options.plan_json.empty() && request.uniform_format.empty() &&
                        !budget.bpw && !budget.file_bytes && !budget.max_kl && !budget.min_tok_s))
    return;
  throw Error(ErrorKind::kBadArgument,
              "what the model holds is kept, or changed by a plan, a format or a budget: give one "
              "of both, not keep and the other");
}

// Where no inputs are seen, gptq does what search does: so the file says. Figures of a plan that
// was measured with gptq do not hold then.
void name_what_is_done(Plan& plan) {
  for (auto& [name, choice] : plan.units) {
    const Quantizer* quantizer = find_row(kQuantizers, choice.quantizer);
    if (quantizer == nullptr || quantizer->sees != Quantizer::Sees::kFactor) continue;
    choice.quantizer = kUnseenQuantizer.name;
    if (plan.measured_kl || plan.predicted_kl) forget_figures(plan);
  }
}

// A plan that is given, or needs no measurement.
Made unmeasured_plan(const Model& model, const Tokenizer* tokenizer, const QuantizeOptions& options,
                     Progress& progress, Journal& journal) {
  // A plan or an option may name any format; a method chooses among those it is given.
  const bool chosen = options.keep || !options.plan_json.empty() ||
                      find_row(kPlanMethods, options.request.method)->takes_format;
  const std::string formats = chosen
                                  ? names_where(kFormats, ",", [](const Format&) { return true; })
                                  : options.profile.formats;
  Made made;
  made.units.emplace(model, UnitInputs(), kUsualSpare);
  made.profile = unmeasured_profile(model, parse_formats(formats), options.profile.quantizer);
  PlanRequest request = options.request;
  request.pinned = pinned_choices(options.tensor_types, made.profile, options.profile.quantizer);
  add_pinned(request.pinned, made.profile);
  if (options.keep) {
    made.plan = kept_plan(model, request.pinned);
  } else if (options.plan_json.empty()) {
    made.plan = plan_or_throw(made.profile, request);
  } else {
    made.plan = given_plan(model, made.profile, options.plan_json, request.pinned);
  }
  check_reach(made.plan, model);
  const ProfileOptions& p = options.profile;
  if (changes_nothing(made.plan, model)) return made;
  Quantizer::Sees seen = Quantizer::Sees::kNothing;
  for (const auto& [name, choice] : made.plan.units) seen = std::max(seen, sees(choice));
  if (p.texts.empty() || tokenizer == nullptr) {
    made.inputs_unknown = seen != Quantizer::Sees::kNothing;
    name_what_is_done(made.plan);
    return made;
  }
  Calibration calibration =
      calibrate_on_texts(model, *tokenizer, p.texts, p.ctx, p.windows, kHeldOutWindows);
  made.units.emplace(model,
                     UnitInputs(model, calibration.seen, seen, progress, UnitInputs::kProductBytes,
                                journal.bytes()),
                     kUsualSpare);
  if (!options.measure) return made;
  const bool left = !calibration.held_out.empty();
  made.windows = std::move(left ? calibration.held_out : calibration.windows);
  made.windows.resize(std::min<size_t>(made.windows.size(), kHeldOutWindows));
  made.text = options.plan_json.empty() && (left || seen == Quantizer::Sees::kNothing) ? kHeldOut
                                                                                       : kMaybeSeen;
  return made;
}

// All that cost nothing beside the passes, and what the method goes by.
std::string metrics_for(const PlanMethod& method) {
  std::string names;
  for (const Metric* metric : kMetrics)
    if (metric != &kSensitivity ||
        (method.outliers != nullptr && &method.outliers->metric == metric))
      names += (names.empty() ? "" : ",") + std::string(metric->name);
  return names;
}

// After so many, plans seldom change.
constexpr int64_t kLikelyWindows = 6;

Made measured_plan(const Model& model, const Tokenizer* tokenizer, const QuantizeOptions& options,
                   Progress& progress, Journal& journal) {
  PlanRequest request = options.request;
  request.pinned = pinned_choices(
      options.tensor_types,
      unmeasured_profile(model, parse_formats(options.profile.formats), options.profile.quantizer),
      options.profile.quantizer);
  ProfileOptions profile_options = options.profile;
  profile_options.held_out = kHeldOutWindows;
  profile_options.plan_windows = kHeldOutWindows;
  profile_options.metrics = metrics_for(*find_row(kPlanMethods, request.method));
  profile_options.pinned = request.pinned;
  profile_options.likely = kLikelyWindows;
  if (profile_options.suffix.empty()) profile_options.suffix = kFastSuffix.name;
  profile_options.times = request.budget.min_tok_s.has_value();
  profile_options.plan = [&](const Profile& profile) { return plan_or_none(profile, request); };
  Racing racing(request);
  ProfileRun run = run_profile(
      model, tokenizer, profile_options, progress,
      [&](const SoFar& so_far) { return racing.judge(so_far); }, journal);
  PlanUnits units(model, run.inputs, run.spare_bytes);
  Refined refined =
      refine(model, run, request, plan_or_throw(run.profile, request), units, progress, journal);
  check_reach(refined.plan, model);
  const int64_t windows = run.profile.windows;
  const auto of = static_cast<int64_t>(run.calibration.windows.size());
  return {.plan = std::move(refined.plan),
          .profile = std::move(run.profile),
          .units = std::move(units),
          .windows = std::move(run.calibration.held_out),
          .text = kHeldOut,
          .rounds = refined.rounds,
          .checked = std::move(run.checked),
          .unchecked = refined.unchecked,
          .race = racing.result(windows, of)};
}

// The finished plan on its windows, or, if there are none, on samples of another seed than those
// that a plan is made from.
QuantizeReport::Evaluation measured(const Model& model, Made& made, const ProfileOptions& options,
                                    Progress& progress, Journal& journal) {
  const bool given = !made.windows.empty();
  const int64_t ctx = made.profile.window > 0 ? made.profile.window : options.ctx;
  const Windows sampled =
      given ? Windows()
            : sample_windows(model, ctx, kHeldOutWindows, ~options.seed, progress, journal);
  const PlanScore score = measure_plan(model, made.plan, *made.units,
                                       given ? made.windows : sampled, progress, journal);
  return {.kl = {score.kl.mean, score.kl.stderr_of_mean},
          .ppl_before = std::exp(score.ce_teacher),
          .ppl_after = std::exp(score.ce_student),
          .text = given ? made.text : "sampled from the model"};
}

// On the disk, for the output; what only saved time goes before that fails.
void make_room(const std::string& out_path, int64_t bytes, KeptBytes& kept) {
  try {
    check_free_space(out_path, bytes);
  } catch (const Error&) {
    kept.remove();
    check_free_space(out_path, bytes);
  }
}

std::map<std::string, std::string> provenance(const Profile& profile, const Model& model,
                                              const QuantizeReport& report) {
  std::map<std::string, std::string> result = {
      {"tool", std::string("klens ") + kVersion},
      {"source", profile.model_name},
      {"source_xxh3", profile.checkpoint_xxh3.empty() ? checkpoint_xxh3(model.checkpoint())
                                                      : profile.checkpoint_xxh3},
      {"activations", profile.activations}};
  if (profile.windows > 0) {
    result["calibration"] = profile.calibration_source;
    result["calibration_tokens"] = std::to_string(profile.tokens);
    result["calibration_windows"] = std::to_string(profile.windows);
    result["calibration_window"] = std::to_string(profile.window);
    result["calibration_seed"] = std::to_string(profile.seed);
  }
  if (report.evaluation) {
    const QuantizeReport::Evaluation& found = *report.evaluation;
    result["measured_kl"] = number_text(found.kl.mean);
    result["measured_kl_stderr"] = number_text(found.kl.error);
    result["measured_ppl_before"] = number_text(found.ppl_before);
    result["measured_ppl_after"] = number_text(found.ppl_after);
    result["measured_on"] = found.text;
    result["measured_against"] = "the source";
  }
  // A source that is quantised already has a history: its formats, and of a .klens file all that
  // it says of its own making, whose source may have one too.
  for (const auto& [key, value] : model.checkpoint().provenance) result["source." + key] = value;
  if (!report.source_formats.empty()) result["source.formats"] = report.source_formats;
  return result;
}

std::vector<UnitReport> unit_reports(const Model& model, const Profile& profile, const Plan& plan) {
  std::vector<UnitReport> reports;
  for (size_t u = 0; u < model.units().size(); ++u) {
    const LinearSpec& unit = model.units()[u];
    const Choice& choice = plan.units.at(unit.name);
    UnitReport report =
        unit_report(unit, choice, packed_bytes(*find_format(choice.format), unit.rows, unit.cols));
    for (const Candidate& candidate : profile.units[u].candidates)
      if (candidate.choice == choice) report.kl = candidate.kl;
    reports.push_back(std::move(report));
  }
  return reports;
}

// A unit's candidate of a format; of one that it lacks, what it would be.
Choice choice_of(const Unit& unit, const FormatText& wanted, const std::string& quantizer) {
  const Format& format = *wanted.format;
  Choice choice{format.name, format.group != 0 ? quantizer : kQuantizers[0].name};
  for (const Candidate& candidate : unit.candidates)
    if (candidate.choice.format == format.name) {
      choice = candidate.choice;
      break;
    }
  choice.activation_bits = wanted.activation_bits;
  return choice;
}

}  // namespace

std::map<std::string, Choice> pinned_choices(const std::string& tensor_types,
                                             const Profile& profile, const std::string& quantizer) {
  std::map<std::string, Choice> pinned;
  for (size_t begin = 0; begin < tensor_types.size();) {
    const size_t end = std::min(tensor_types.find('\n', begin), tensor_types.size());
    const std::string line = tensor_types.substr(begin, end - begin);
    begin = end + 1;
    if (line.empty()) continue;
    const size_t equals = line.rfind('=');
    const FormatText format =
        parse_format_text(equals == std::string::npos ? "" : line.substr(equals + 1));
    if (format.format == nullptr)
      throw Error(ErrorKind::kBadArgument, "tensor type \"" + line +
                                               "\" is not REGEX=FORMAT with a format of " +
                                               known_format_texts());
    size_t matches = 0;
    try {
      const std::regex pattern(line.substr(0, equals));
      for (const Unit& unit : profile.units) {
        // A matrix's name means all of its rows.
        const std::optional<UnitName> name = parse_unit_name(unit.name);
        if (!std::regex_search(unit.name, pattern) &&
            !(name && std::regex_search(name->matrix, pattern)))
          continue;
        pinned[unit.name] = choice_of(unit, format, quantizer);
        ++matches;
      }
    } catch (const std::regex_error& error) {
      throw Error(ErrorKind::kBadArgument,
                  "tensor type \"" + line + "\": bad regular expression: " + error.what());
    }
    if (matches == 0)
      throw Error(ErrorKind::kBadArgument,
                  "tensor type \"" + line + "\" matches no unit; klens inspect lists them");
  }
  return pinned;
}

void check_reach(const Plan& plan, const Model& model) {
  for (const LinearSpec& unit : model.units()) {
    const StoredUnit& stored = model.checkpoint().units.at(unit.name);
    const Choice& choice = plan.units.at(unit.name);
    if (has_weights_of(stored, choice)) continue;
    const Format& format = *find_format(choice.format);
    const float largest = largest_weight(stored.view);
    if (reaches(format, largest)) continue;
    char magnitude[32];
    std::snprintf(magnitude, sizeof magnitude, "%.4g", static_cast<double>(largest));
    const auto* other =
        std::find_if(std::begin(kFormats), std::end(kFormats),
                     [&](const Format& candidate) { return reaches(candidate, largest); });
    throw Error(
        ErrorKind::kUnsupported,
        model.checkpoint().path + ": unit " + unit.name + " has weights up to " + magnitude +
            ", more than " + format.name + " holds" +
            (other == std::end(kFormats) ? ", and so have all other formats: it cannot be quantised"
                                         : "; give it another format: --tensor-type \"^" +
                                               unit.name + "$=" + other->name + "\""));
  }
}

Quantizer::Sees sees(const Choice& choice) {
  const Quantizer* row = find_row(kQuantizers, choice.quantizer);
  return row == nullptr ? Quantizer::Sees::kNothing : row->sees;
}

size_t baked_bytes(const Model& model, const Profile& profile, const Plan& plan) {
  Profile given;  // one that was not measured here, as of a plan that is given
  given.model_name = profile.model_name;
  given.checkpoint_xxh3 = profile.checkpoint_xxh3;
  given.activations = profile.activations;
  QuantizeReport report;
  report.source_formats = quantised_formats(model.checkpoint());
  return klens_header_bytes(model.checkpoint(),
                            {.plan = plan, .provenance = provenance(given, model, report)}) +
         static_cast<size_t>(plan.bytes);
}

std::optional<Plan> plan_or_none(const Profile& profile, const PlanRequest& request) {
  auto made = make_plan(profile, request);
  if (Plan* plan = std::get_if<Plan>(&made)) return std::move(*plan);
  return std::nullopt;
}

Plan plan_or_throw(const Profile& profile, const PlanRequest& request) {
  std::variant<Plan, std::string> result = make_plan(profile, request);
  if (const std::string* why = std::get_if<std::string>(&result))
    throw Error(ErrorKind::kBadArgument, *why);
  return std::move(std::get<Plan>(result));
}

QuantizeReport quantize(const Model& model, const Tokenizer* tokenizer, const std::string& out_path,
                        const QuantizeOptions& asked, Progress& progress) {
  const auto begin = std::chrono::steady_clock::now();
  QuantizeOptions options = asked;
  options.profile.formats = formats_for(model, asked.profile, {&asked.request.budget, 1});
  const PlanMethod* method = find_row(kPlanMethods, options.request.method);
  if (method == nullptr)
    throw Error(ErrorKind::kBadArgument,
                not_one_of("planning method", options.request.method, kPlanMethods));
  if (method->unmeasured && (options.request.budget.max_kl || options.request.budget.min_tok_s))
    throw Error(ErrorKind::kBadArgument, std::string("method ") + method->name +
                                             " measures nothing, so it can keep no limit on KL or "
                                             "speed: give it --bpw or --size");
  check_keep(options);
  check_request(model, options.dry_run ? "" : out_path, options);
  const bool ready = options.keep || !options.plan_json.empty() || method->unmeasured;
  const std::unique_ptr<Journal> journal = open_journal(model, options.profile);
  Made made = ready ? unmeasured_plan(model, tokenizer, options, progress, *journal)
                    : measured_plan(model, tokenizer, options, progress, *journal);
  count_bytes(model, made.profile, made.plan);
  QuantizeReport report;
  report.source_formats = quantised_formats(model.checkpoint());
  if (options.measure && !(options.keep && changes_nothing(made.plan, model)))
    report.evaluation = measured(model, made, options.profile, progress, *journal);
  report.rounds = made.rounds;
  report.race = made.race;
  report.checked = std::move(made.checked);
  report.unchecked = made.unchecked;
  report.inputs_unknown = made.inputs_unknown;
  const KlensHeader header{.plan = made.plan,
                           .provenance = provenance(made.profile, model, report)};
  const Checkpoint& source = model.checkpoint();
  if (options.dry_run) {
    report.bytes = klens_header_bytes(source, header) + static_cast<size_t>(made.plan.bytes);
  } else {
    make_room(out_path, static_cast<int64_t>(klens_header_bytes(source, header)) + made.plan.bytes,
              *journal->bytes());
    double weights = 0;
    for (const LinearSpec& unit : model.units())
      weights += static_cast<double>(unit.rows * unit.cols);
    progress.stage(stages::kWrite, weights);
    size_t next = 0;
    report.bytes =
        write_klens_file(out_path, source, header, [&](const StoredUnit& unit, const Choice&) {
          progress.step(static_cast<double>(unit.view.rows * unit.view.cols));
          return made.units->take(made.plan, next++);
        });
    if (options.request.budget.min_tok_s)
      report.measured_tok_s =
          measure_decode_speed(Model(open_checkpoint(out_path, false), model.options()));
    std::error_code ec;
    journal->bytes()->remove();
    if (!options.profile.state_path.empty())
      std::filesystem::remove(options.profile.state_path, ec);
  }
  report.units = unit_reports(model, made.profile, made.plan);
  report.plan = std::move(made.plan);
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  if (made.profile.windows > 0) report.profile = std::move(made.profile);
  return report;
}

}  // namespace klens
