#include "engine/jobs/sweep.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "engine/jobs/profile_state.h"
#include "engine/jobs/quantize_job.h"
#include "engine/jobs/refine.h"
#include "engine/jobs/request_check.h"
#include "loaders/profile_json.h"

namespace klens {
namespace {

// What plans are made from and judged by.
struct Ground {
  ProfileRun run;       // its inputs once `looked`
  bool looked = false;  // at the windows that the profile was made from
  Windows windows;      // to judge by
  std::string text;     // what they are
};

std::vector<const PlanMethod*> parse_methods(const std::string& list) {
  auto named = parse_names(list, "planning method", kPlanMethods);
  if (const auto* why = std::get_if<std::string>(&named))
    throw Error(ErrorKind::kBadArgument, *why);
  std::vector<const PlanMethod*> methods = std::get<0>(std::move(named));
  for (const PlanMethod* method : methods)
    if (method->takes_format)
      throw Error(ErrorKind::kBadArgument,
                  std::string("method ") + method->name +
                      " takes a format and no budget, so it has no frontier: leave it out");
  if (methods.empty())
    for (const PlanMethod& method : kPlanMethods)
      if (!method.takes_format) methods.push_back(&method);
  return methods;
}

// A given profile must be of this model, as it runs here.
void check_same_model(const Profile& profile, const Model& model) {
  const std::string& path = model.checkpoint().path;
  const auto fail = [&](const std::string& what) {
    throw Error(ErrorKind::kBadArgument,
                "profile: " + what + "; profile " + path + " itself, or leave the profile out");
  };
  std::map<std::string, const Unit*> units;
  for (const Unit& unit : profile.units) units[unit.name] = &unit;
  for (const LinearSpec& spec : model.units()) {
    const auto found = units.find(spec.name);
    if (found == units.end())
      fail("is of another model: it lacks unit " + spec.name + " of " + path);
    if (found->second->rows != spec.rows || found->second->cols != spec.cols)
      fail("is of another model: unit " + spec.name + " has another shape in " + path);
  }
  if (units.size() != model.units().size())
    fail("is of another model: it has " + std::to_string(units.size()) + " units, " + path + " " +
         std::to_string(model.units().size()));
  if (!profile.checkpoint_xxh3.empty() &&
      profile.checkpoint_xxh3 != checkpoint_xxh3(model.checkpoint()))
    fail("is of other weights (" + profile.checkpoint_xxh3 + ") than those of " + path);
  const char* activations = activations_name(model.options().activations);
  if (!profile.activations.empty() && profile.activations != activations)
    fail("was measured with activations in " + profile.activations + ", not in " + activations);
}

Windows text_windows(const Model& model, const Tokenizer* tokenizer,
                     std::span<const CalibrationText> texts, int64_t ctx, int64_t count) {
  if (tokenizer == nullptr)
    throw Error(ErrorKind::kBadFile,
                model.checkpoint().path + ": holds no tokenizer.json, which a text needs");
  return calibrate_on_texts(model, *tokenizer, texts, ctx, count, 0).windows;
}

// The text goes on behind what the profile is made from.
Calibration calibrate_with_rest(const Model& model, const Tokenizer* tokenizer,
                                const SweepOptions& options) {
  const ProfileOptions& p = options.profile;
  if (tokenizer == nullptr) text_windows(model, tokenizer, p.texts, p.ctx, 1);  // refuses
  Calibration calibration = calibrate_on_texts(model, *tokenizer, p.texts, p.ctx, p.windows,
                                               options.text ? 0 : options.windows);
  if (!options.text && calibration.held_out.empty())
    throw Error(ErrorKind::kBadArgument,
                source_name(p.texts) + ": is used up by the " + std::to_string(p.windows) +
                    " windows of the profile, so nothing is left to judge plans by; give another "
                    "text to judge by, a longer one, or fewer windows");
  return calibration;
}

std::string rest_of(const std::string& source) { return source + ", behind the profile's windows"; }
constexpr const char* kSamples = "sampled from the model";

// Of a profile that is given: its windows again, which quantizers look at, and others.
Ground ground_of(Profile profile, const Model& model, const Tokenizer* tokenizer,
                 const SweepOptions& options, Progress& progress, Journal& journal) {
  const ProfileOptions& p = options.profile;
  Ground ground;
  ground.run.profile = std::move(profile);
  Calibration& calibration = ground.run.calibration;
  std::vector<CalibrationText> judges;
  if (options.text) judges.push_back({*options.text, options.text_name});
  const std::string& source = ground.run.profile.calibration_source;
  if (source == kSampledSource) {
    if (judges.empty()) judges = p.texts;
    calibration = calibrate_on_samples(
        model, p.ctx, p.windows, judges.empty() ? options.windows : 0, p.seed, progress, journal);
    ground.text = judges.empty() ? kSamples : source_name(judges);
  } else {
    if (p.texts.empty())
      throw Error(ErrorKind::kBadArgument,
                  "profile: was made from the text " + source +
                      ", which quantizers look at too: give that text again (-f)");
    calibration = calibrate_with_rest(model, tokenizer, options);
    ground.text = judges.empty() ? rest_of(source_name(p.texts)) : source_name(judges);
  }
  ground.windows = judges.empty() ? std::move(calibration.held_out)
                                  : text_windows(model, tokenizer, judges, p.ctx, options.windows);
  return ground;
}

Ground measured_ground(const Model& model, const Tokenizer* tokenizer, const SweepOptions& options,
                       Progress& progress, Journal& journal) {
  ProfileOptions p = options.profile;
  p.held_out = options.text ? 0 : options.windows;
  Ground ground;
  if (options.text)
    ground.windows = text_windows(model, tokenizer,
                                  std::vector<CalibrationText>{{*options.text, options.text_name}},
                                  p.ctx, options.windows);
  if (!p.texts.empty())
    calibrate_with_rest(model, tokenizer, options);  // before hours of measuring
  ground.run = run_profile(model, tokenizer, p, progress, go_on, journal);
  ground.looked = true;
  ground.text = options.text      ? options.text_name
                : p.texts.empty() ? kSamples
                                  : rest_of(source_name(p.texts));
  if (!options.text) ground.windows = std::move(ground.run.calibration.held_out);
  return ground;
}

// From the smallest plan to the base format; in thousandths, rounded up, so that both can be met.
std::vector<Budget> even_budgets(const Profile& profile, int64_t points) {
  int64_t least = profile.fixed_bytes, most = profile.fixed_bytes;
  for (const Unit& unit : profile.units) {
    least += std::ranges::min_element(unit.candidates, {}, &Candidate::bytes)->bytes;
    for (const Candidate& c : unit.candidates)
      if (c.choice.format == kBaseFormat.name) most += c.bytes;
  }
  const double low = bits_per_weight(profile, least);
  const double high = std::max(low, bits_per_weight(profile, most));
  std::vector<Budget> budgets;
  for (int64_t i = 0; i < points; ++i) {
    const double part = points > 1 ? static_cast<double>(i) / static_cast<double>(points - 1) : 0.0;
    budgets.emplace_back().bpw = std::ceil((low + part * (high - low)) * 1000 - 1e-6) / 1000;
  }
  return budgets;
}

std::string text_of(const Budget& budget) {
  return budget.bpw ? number_text(*budget.bpw) + " bpw"
                    : std::to_string(budget.file_bytes.value_or(0)) + " bytes";
}

// The method's plan for the budget, measured around if it is to be; or why there is none.
std::variant<Plan, std::string> plan_of(const Model& model, const ProfileRun& run,
                                        const PlanMethod& method, const PlanRequest& request,
                                        bool refined, SweepPoint& point, Progress& progress,
                                        Journal& journal) {
  auto made = make_plan(run.profile, request);
  Plan* plan = std::get_if<Plan>(&made);
  if (plan == nullptr || !refined || !method.refines) return made;
  PlanUnits units(model, run.inputs, run.spare_bytes);
  Refined better = refine(model, run, request, std::move(*plan), units, progress, journal);
  point.rounds = better.rounds;
  return std::move(better.plan);
}

// Each method's plan for each budget, no two plans alike.
void make_plans(const Model& model, const ProfileRun& run,
                const std::vector<const PlanMethod*>& methods, const std::vector<Budget>& budgets,
                bool refined, Progress& progress, Journal& journal, SweepReport& report) {
  std::map<std::map<std::string, Choice>, size_t> known;
  for (const PlanMethod* method : methods) {
    report.methods.push_back(method->name);
    for (const Budget& budget : budgets) {
      SweepPoint point;
      point.method = method->name;
      point.budget = text_of(budget);
      PlanRequest request;
      request.method = method->name;
      request.budget = budget;
      auto made = plan_of(model, run, *method, request, refined, point, progress, journal);
      if (auto* why = std::get_if<std::string>(&made)) {
        point.refused = std::move(*why);
      } else {
        Plan& plan = std::get<Plan>(made);
        point.predicted_kl = predicted_kl(run.profile, plan);
        const auto [at, fresh] = known.try_emplace(plan.units, report.plans.size());
        point.plan = at->second;
        if (fresh) {
          check_reach(plan, model);
          report.plans.emplace_back().plan = std::move(plan);
        }
      }
      report.points.push_back(std::move(point));
    }
  }
  if (report.plans.empty()) throw Error(ErrorKind::kBadArgument, report.points.front().refused);
}

// What the quantizers of a profile's candidates look at, where it was measured elsewhere.
void look(const Model& model, Ground& ground, Progress& progress, Journal& journal) {
  if (ground.looked) return;
  Quantizer::Sees most = Quantizer::Sees::kNothing;
  for (const Unit& unit : ground.run.profile.units)
    for (const Candidate& c : unit.candidates) most = std::max(most, sees(c.choice));
  ground.run.inputs = UnitInputs(model, ground.run.calibration.seen, most, progress,
                                 UnitInputs::kProductBytes, journal.bytes());
  ground.looked = true;
}

// Small plans first: neighbours share most of their units.
void order_by_bytes(SweepReport& report) {
  std::vector<size_t> order(report.plans.size()), place(report.plans.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::ranges::stable_sort(order, {}, [&](size_t i) { return report.plans[i].plan.bytes; });
  std::vector<PlanFigures> sorted;
  for (const size_t i : order) {
    place[i] = sorted.size();
    sorted.push_back(std::move(report.plans[i]));
  }
  report.plans = std::move(sorted);
  for (SweepPoint& point : report.points) point.plan = place[point.plan];
}

void check_counts(const SweepOptions& options) {
  const auto require = [](bool good, const char* what) {
    if (!good) throw Error(ErrorKind::kBadArgument, what);
  };
  require(options.points >= 1, "a sweep has at least 1 budget");
  require(options.windows >= 1, "plans are judged by at least 1 window");
  require(options.generate >= 0 && options.repetitions >= 1, "speed is timed at least once");
  for (const Budget& budget : options.budgets)
    require(budget.bpw ? std::isfinite(*budget.bpw) && *budget.bpw > 0
                       : budget.file_bytes && *budget.file_bytes > 0,
            "a budget of a sweep is bits per weight or a file size, above 0");
}

// Budgets of which the shapes say that none can be met are refused before anything is measured.
void check_budgets(const Model& model, const SweepOptions& options) {
  if (options.budgets.empty() || !options.profile_json.empty()) return;
  const Profile profile =
      costless_profile(model, parse_formats(options.profile.formats), options.profile.quantizer);
  std::string refused;
  for (const Budget& budget : options.budgets) {
    PlanRequest request;
    request.budget = budget;
    const auto made = make_plan(profile, request);
    const std::string* why = std::get_if<std::string>(&made);
    if (why == nullptr) return;
    if (refused.empty()) refused = *why;
  }
  throw Error(ErrorKind::kBadArgument, refused);
}

}  // namespace

SweepReport sweep(const Model& model, const Tokenizer* tokenizer, const SweepOptions& options,
                  Progress& progress) {
  check_counts(options);
  const std::vector<const PlanMethod*> methods = parse_methods(options.methods);
  SweepOptions run = options;
  const bool given = !options.profile_json.empty();
  if (!given) run.profile.formats = formats_for(model, options.profile, options.budgets);
  check_budgets(model, run);
  Profile profile;
  if (given) {
    profile = profile_from_json(options.profile_json, "profile");
    check_same_model(profile, model);
    run.profile.ctx = std::max<int64_t>(profile.window, 2);
    run.profile.windows = std::max<int64_t>(profile.windows, 1);
    run.profile.seed = profile.seed;
  }
  const std::unique_ptr<Journal> journal = open_journal(model, run.profile, options.profile_json);
  Ground ground = given ? ground_of(std::move(profile), model, tokenizer, run, progress, *journal)
                        : measured_ground(model, tokenizer, run, progress, *journal);
  look(model, ground, progress, *journal);
  SweepReport report;
  report.profiled = !given;
  report.text = ground.text;
  report.windows = static_cast<int64_t>(ground.windows.size());
  report.device = model.device().name();
  report.level = model.device().level();
  report.threads = model.options().threads;
  report.generate = options.generate;
  report.repetitions = options.repetitions;
  report.quantised_from = quantised_formats(model.checkpoint());
  make_plans(
      model, ground.run, methods,
      options.budgets.empty() ? even_budgets(ground.run.profile, options.points) : options.budgets,
      options.refine, progress, *journal, report);
  order_by_bytes(report);
  for (PlanFigures& figures : report.plans)
    figures.bytes = baked_bytes(model, ground.run.profile, figures.plan);
  const TextFigures text = measure_plans(model, ground.windows, ground.run.inputs,
                                         {.generate = options.generate,
                                          .repetitions = options.repetitions,
                                          .packed_bytes = options.packed_bytes},
                                         progress, *journal, report.plans);
  report.ppl = text.ppl;
  report.tokens = text.tokens;
  report.profile = std::move(ground.run.profile);
  journal->bytes()->remove();
  return report;
}

}  // namespace klens
