#include "engine/jobs/request_check.h"

#include <algorithm>
#include <limits>

#include "loaders/output_path.h"

namespace klens {
namespace {

// Tensor bytes of the smallest file that the candidates allow.
int64_t least_bytes(const Profile& profile) {
  int64_t bytes = profile.fixed_bytes;
  for (const Unit& unit : profile.units)
    bytes +=
        std::min_element(unit.candidates.begin(), unit.candidates.end(),
                         [](const Candidate& a, const Candidate& b) { return a.bytes < b.bytes; })
            ->bytes;
  return bytes;
}

// Bits per weight of what a budget allows, or, of a limit on KL, about those of plans that lose as
// much (bench/RESULTS.md).
double bits_of(const Budget& budget, const Profile& profile) {
  if (budget.bpw) return *budget.bpw;
  if (budget.file_bytes) return bits_per_weight(profile, *budget.file_bytes - profile.header_bytes);
  if (budget.max_kl) return *budget.max_kl > 0.01 ? 3.5 : *budget.max_kl > 0.001 ? 4.5 : 8;
  return std::numeric_limits<double>::infinity();
}

}  // namespace

std::string formats_for(const Model& model, const ProfileOptions& options,
                        std::span<const Budget> budgets) {
  if (!options.formats.empty()) return options.formats;
  const Profile usual = costless_profile(model, parse_formats(""), options.quantizer);
  double bits = std::numeric_limits<double>::infinity();
  for (const Budget& budget : budgets) bits = std::min(bits, bits_of(budget, usual));
  const std::string names = names_where(
      kFormats, ",", [&](const Format& format) { return format.candidate || bits < format.below; });
  const Profile profile = costless_profile(model, parse_formats(names), options.quantizer);
  const bool met = std::ranges::all_of(budgets, [&](const Budget& budget) {
    if (!budget.bpw && !budget.file_bytes) return true;
    PlanRequest request;
    request.budget = budget;
    return std::holds_alternative<Plan>(make_plan(profile, request));
  });
  return met ? names : names_where(kFormats, ",", [](const Format&) { return true; });
}

void add_pinned(const std::map<std::string, Choice>& pinned, Profile& profile) {
  for (Unit& unit : profile.units) {
    const auto pin = pinned.find(unit.name);
    if (pin == pinned.end()) continue;
    const auto has = [&](const Candidate& c) { return c.choice == pin->second; };
    if (std::any_of(unit.candidates.begin(), unit.candidates.end(), has)) continue;
    Candidate added = unit.candidates.front();
    added.choice = pin->second;
    added.bytes =
        static_cast<int64_t>(packed_bytes(*find_format(pin->second.format), unit.rows, unit.cols));
    unit.candidates.push_back(std::move(added));
  }
}

void check_request(const Model& model, const std::string& out_path,
                   const QuantizeOptions& options) {
  const auto metrics = parse_names(options.profile.metrics, "metric", kMetrics);
  if (const auto* why = std::get_if<std::string>(&metrics))
    throw Error(ErrorKind::kBadArgument, *why);
  OutputCheck check{.ending = ".klens", .inputs = {model.checkpoint().path}, .bytes = 0};
  if (!out_path.empty()) check_output(out_path, check);
  if (options.keep || !options.plan_json.empty() ||
      find_row(kPlanMethods, options.request.method)->takes_format)
    return;
  const OutlierRule* outliers = find_row(kPlanMethods, options.request.method)->outliers;
  const auto& asked = std::get<0>(metrics);
  if (outliers != nullptr && !asked.empty() && std::ranges::count(asked, &outliers->metric) == 0)
    throw Error(ErrorKind::kBadArgument, "method " + options.request.method + " needs the metric " +
                                             outliers->metric.name + ": name it in --metrics");
  Profile profile =
      costless_profile(model, parse_formats(options.profile.formats), options.profile.quantizer);
  PlanRequest request = options.request;
  request.pinned = pinned_choices(options.tensor_types, profile, options.profile.quantizer);
  add_pinned(request.pinned, profile);
  if (!request.budget.min_tok_s) plan_or_throw(profile, request);  // nothing is timed yet
  if (!out_path.empty()) check_free_space(out_path, least_bytes(profile));
}

}  // namespace klens
