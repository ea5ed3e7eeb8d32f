#include "quant/planner.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>

#include "quant/planners/activations.h"

namespace klens {

int64_t unit_weights(const Profile& profile) {
  int64_t weights = 0;
  for (const Unit& unit : profile.units) weights += unit.rows * unit.cols;
  return weights;
}

double bits_per_weight(const Profile& profile, int64_t bytes) {
  const int64_t weights = unit_weights(profile);
  return weights <= 0
             ? 0
             : 8 * static_cast<double>(bytes - profile.fixed_bytes) / static_cast<double>(weights);
}

double predicted_kl(const Profile& profile, const Plan& plan) {
  double sum = 0;
  for (const Unit& unit : profile.units) {
    const auto choice = plan.units.find(unit.name);
    if (choice == plan.units.end()) continue;
    for (const Candidate& candidate : unit.candidates)
      if (candidate.choice == choice->second) sum += candidate.kl.value_or(0);
  }
  return sum;
}

std::optional<double> predicted_tok_s(const Profile& profile, const Plan& plan) {
  if (!profile.decode_rest_us) return std::nullopt;
  double us = *profile.decode_rest_us;
  for (const Unit& unit : profile.units) {
    const auto choice = plan.units.find(unit.name);
    if (choice == plan.units.end()) return std::nullopt;
    const auto found = std::ranges::find(unit.candidates, choice->second, &Candidate::choice);
    if (found == unit.candidates.end() || !found->decode_us) return std::nullopt;
    us += *found->decode_us;
  }
  return us > 0 ? std::optional(1e6 / us) : std::nullopt;
}

namespace {

// The shortest text that reads back as the same number.
std::string shortest(double value) {
  char text[32];
  const auto end = std::to_chars(text, text + sizeof text, value).ptr;
  return {text, end};
}

std::string rounded(double value) {
  char text[32];
  const auto end =
      std::to_chars(text, text + sizeof text, value, std::chars_format::general, 5).ptr;
  return {text, end};
}

std::string budget_text(const Budget& budget) {
  if (budget.bpw) return shortest(*budget.bpw) + " bpw";
  if (budget.file_bytes) return std::to_string(*budget.file_bytes) + " bytes";
  if (budget.max_kl) return "kl " + shortest(*budget.max_kl);
  if (budget.min_tok_s) return shortest(*budget.min_tok_s) + " tok/s";
  return "";
}

// "int4g64 for 30 units, fp16 for 1", most frequent first.
std::string summary(const Selection& selection) {
  std::map<std::string, int> counts;
  for (const Candidate* c : selection) ++counts[format_text(c->choice)];
  std::vector<std::pair<int, std::string>> sorted;
  for (const auto& [format, count] : counts) sorted.emplace_back(-count, format);
  std::sort(sorted.begin(), sorted.end());
  std::string text;
  for (const auto& [count, format] : sorted)
    text += (text.empty() ? "" : ", ") + format + " for " + std::to_string(-count) +
            (text.empty() ? " unit(s)" : "");
  return text;
}

// Why a profile has no times to plan by; "" where it has.
std::string untimed(const Profile& profile) {
  const std::string cure = ": profile again with --times, on the machine that is to run the model";
  if (!profile.decode_rest_us)
    return "the profile has no times to plan tokens per second by" + cure;
  for (const Unit& unit : profile.units)
    for (const Candidate& c : unit.candidates)
      if (!c.decode_us)
        return "unit " + unit.name + " was not timed in " + format_text(c.choice) + cure;
  return "";
}

std::string wrong_budget(const Profile& profile, const PlanMethod& method,
                         const PlanRequest& request) {
  const Budget& budget = request.budget;
  const int set = budget.bpw.has_value() + budget.file_bytes.has_value() +
                  budget.max_kl.has_value() + budget.min_tok_s.has_value();
  if (method.takes_format) {
    if (set != 0)
      return "method " + request.method + " takes no budget: drop it, or use method " +
             kPlanMethods[0].name;
    if (request.uniform_format.empty())
      return "method " + request.method + " needs a format: one of " + names_of(kFormats);
    if (parse_format_text(request.uniform_format).format == nullptr)
      return "format \"" + request.uniform_format + "\" is not one of " + known_format_texts();
    return "";
  }
  if (!request.uniform_format.empty())
    return "method " + request.method + " takes no format: use method " +
           names_where(kPlanMethods, " or ", [](const PlanMethod& m) { return m.takes_format; });
  if (set != 1)
    return "method " + request.method +
           " needs exactly one budget: bits per weight, file size, KL or tokens per second";
  if (budget.bpw && !(std::isfinite(*budget.bpw) && *budget.bpw > 0))
    return "a budget in bits per weight is a number above 0, such as 4.5";
  if (budget.bpw && unit_weights(profile) <= 0)
    return "the profile does not say how many weights the units have: give the budget as a file "
           "size, or profile again";
  if (budget.file_bytes && *budget.file_bytes <= 0)
    return "a file size is a number of bytes above 0";
  if (budget.max_kl && !(std::isfinite(*budget.max_kl) && *budget.max_kl >= 0))
    return "a KL budget is a number of nats per token, 0 or more, such as 0.02";
  if (budget.min_tok_s && !(std::isfinite(*budget.min_tok_s) && *budget.min_tok_s > 0))
    return "a budget in tokens per second is a number above 0, such as 20";
  if (budget.min_tok_s && method.unmeasured)
    return "method " + request.method + " looks at bytes alone, so it can keep no speed: give it " +
           "bits per weight or a file size";
  if (budget.min_tok_s) return untimed(profile);
  return "";
}

// The most tensor bytes whose bits per weight, as reported, do not exceed bpw.
int64_t bytes_within(const Profile& profile, double bpw) {
  const double bytes = std::floor(bpw * static_cast<double>(unit_weights(profile)) / 8);
  if (bytes >= 9e15) return int64_t{1} << 53;
  auto most = profile.fixed_bytes + static_cast<int64_t>(bytes) + 1;
  while (bits_per_weight(profile, most) > bpw) --most;
  return most;
}

std::string formats_of(const Unit& unit) {
  std::string text;
  for (const Candidate& c : unit.candidates)
    text += (text.empty() ? "" : ", ") + format_text(c.choice);
  return text;
}

// The candidates that the request leaves a unit, or why there are none.
std::variant<std::vector<const Candidate*>, std::string> open_candidates(
    const Unit& unit, const PlanMethod& method, const PlanRequest& request) {
  std::vector<const Candidate*> open;
  const auto pinned = request.pinned.find(unit.name);
  if (pinned != request.pinned.end()) {
    const Choice& choice = pinned->second;
    for (const Candidate& c : unit.candidates)
      if (c.choice == choice) open.push_back(&c);
    if (open.empty())
      return "unit " + unit.name + " cannot be pinned to " + text_of(choice) +
             ", which the profile lacks: it has " + formats_of(unit) +
             "; choose one of these or profile that format";
    return std::vector<const Candidate*>{open.front()};
  }
  // A broken student is not chosen, unlike one whose KL was not asked for.
  const bool uniform = method.takes_format;
  for (const Candidate& c : unit.candidates)
    if (uniform ? format_text(c.choice) == request.uniform_format : !c.kl || has_kl(c))
      open.push_back(&c);
  if (open.empty())
    return "unit " + unit.name + " was not profiled in " +
           (uniform ? request.uniform_format : "any usable format") + ": it has " +
           (unit.candidates.empty() ? "no candidates" : formats_of(unit)) +
           "; choose one of these or profile again";
  return open;
}

std::string unknown_pins(const Profile& profile, const PlanRequest& request) {
  std::set<std::string_view> names;
  for (const Unit& unit : profile.units) names.insert(unit.name);
  for (const auto& [name, choice] : request.pinned)
    if (!names.contains(name))
      return "there is no unit " + name + " to pin to " + choice.format +
             ": the profile's units have names such as " + profile.units.front().name;
  return "";
}

// Whether a format is smaller than all that were measured.
bool smaller_exists(const Profile& profile) {
  double least = INFINITY;
  for (const Unit& unit : profile.units)
    for (const Candidate& c : unit.candidates)
      if (const Format* format = find_format(c.choice.format))
        least = std::min(least, bits_per_weight(*format));
  return std::ranges::any_of(
      kFormats, [&](const auto& row) { return bits_per_weight(row_of_table(row)) < least; });
}

std::string unreachable(const Profile& profile, const PlanRequest& request,
                        const Selection& nearest) {
  const int64_t bytes = profile.fixed_bytes + bytes_of(nearest);
  const std::string size =
      std::to_string(bytes) + " bytes, " + rounded(bits_per_weight(profile, bytes)) +
      " bpw, in a file of at most " + std::to_string(bytes + profile.header_bytes) + " bytes";
  const std::string what = "budget " + budget_text(request.budget) + " cannot be met: ";
  const bool fine = std::ranges::any_of(
      nearest, [](const Candidate* c) { return c->choice.activation_bits == kFineActivationBits; });
  const std::string plan =
      " (" + summary(nearest) + (fine ? "; @16: with activations of 16 bits" : "") + "); ";
  const std::string smaller =
      smaller_exists(profile) ? ", or measure smaller --formats (of quantize or profile)" : "";
  const std::string pins = request.pinned.empty() ? "" : " or pin fewer units";
  if (request.budget.min_tok_s)  // bytes are nanoseconds here
    return what + "the fastest plan of method " + request.method + " decodes " +
           rounded(1e9 /
                   std::max(1e3 * *profile.decode_rest_us + static_cast<double>(bytes_of(nearest)),
                            1.0)) +
           " tok/s" + plan + "ask for less speed" + smaller + pins;
  if (request.budget.max_kl)
    return what + "the least KL that method " + request.method + " reaches is " +
           rounded(kl_of(nearest).value_or(0)) + " with " + size + plan + "allow more KL" + pins;
  return what + "the smallest plan of method " + request.method + " has " + size + plan +
         "allow more bytes" + smaller + pins;
}

std::string unmeasured(const PlanRequest& request, const Unmeasured& missing) {
  return "method " + request.method + " needs " + missing.what + " of unit " + missing.unit +
         (missing.format.empty() ? "" : " in " + missing.format) +
         ", which the profile lacks: profile again with it" +
         (missing.format.empty() ? "" : " (and --measured all)") + ", or use " +
         (request.method == kPlanMethods[0].name ? "another method"
                                                 : std::string("method ") + kPlanMethods[0].name);
}

Plan plan_of(const Profile& profile, const PlanRequest& request, const Selected& selected) {
  Plan plan;
  plan.method = request.method;
  plan.budget = budget_text(request.budget);
  plan.bytes = profile.fixed_bytes + bytes_of(selected.selection);
  plan.bpw = bits_per_weight(profile, plan.bytes);
  plan.predicted_kl = kl_of(selected.selection);
  plan.optimality_gap = selected.gap;
  for (size_t u = 0; u < profile.units.size(); ++u)
    plan.units[profile.units[u].name] = selected.selection[u]->choice;
  plan.predicted_tok_s = predicted_tok_s(profile, plan);
  return plan;
}

}  // namespace

int64_t bytes_of(const Selection& selection) {
  int64_t bytes = 0;
  for (const Candidate* c : selection) bytes += c->bytes;
  return bytes;
}

std::optional<double> kl_of(const Selection& selection) {
  double kl = 0;
  for (const Candidate* c : selection) {
    if (!has_kl(*c)) return std::nullopt;
    kl += *c->kl;
  }
  return kl;
}

namespace {

// The profile with nanoseconds of decoding in the place of bytes: what methods then keep within a
// limit is time.
Profile in_nanoseconds(Profile profile) {
  for (Unit& unit : profile.units)
    for (Candidate& c : unit.candidates)
      c.bytes = static_cast<int64_t>(std::ceil(1e3 * *c.decode_us));
  return profile;
}

// A plan by a method that is known and a budget that is sound.
std::variant<Plan, std::string> plan_within(const Profile& profile, const PlanMethod& method,
                                            const PlanRequest& request) {
  PlanningTask task{.profile = profile, .open = {}, .unit_bytes = {}, .max_kl = {}};
  for (const Unit& unit : profile.units) {
    auto open = open_candidates(unit, method, request);
    if (auto* why = std::get_if<std::string>(&open)) return *why;
    task.open.push_back(std::get<std::vector<const Candidate*>>(std::move(open)));
  }
  const Budget& budget = request.budget;
  if (budget.bpw) task.unit_bytes = bytes_within(profile, *budget.bpw) - profile.fixed_bytes;
  if (budget.file_bytes)
    task.unit_bytes = *budget.file_bytes - profile.header_bytes - profile.fixed_bytes;
  if (budget.min_tok_s)
    task.unit_bytes = static_cast<int64_t>(
        std::floor(std::min(1e9 / *budget.min_tok_s, 9e15) - 1e3 * *profile.decode_rest_us));
  task.max_kl = budget.max_kl;

  if (!method.weighs_activations && !method.takes_format) task.open = with_coarse_activations(task);
  const MethodResult result =
      method.weighs_activations ? plan_with_activations(task, method.plan) : method.plan(task);
  if (const auto* missing = std::get_if<Unmeasured>(&result)) return unmeasured(request, *missing);
  if (const auto* refused = std::get_if<Unreachable>(&result))
    return unreachable(profile, request, refused->nearest);
  return plan_of(profile, request, std::get<Selected>(result));
}

}  // namespace

std::variant<Plan, std::string> make_plan(const Profile& profile, const PlanRequest& request) {
  const PlanMethod* method = find_row(kPlanMethods, request.method);
  if (method == nullptr) return not_one_of("planning method", request.method, kPlanMethods);
  if (profile.units.empty()) return "the profile has no units: profile the model again";
  if (std::string why = wrong_budget(profile, *method, request); !why.empty()) return why;
  if (std::string why = unknown_pins(profile, request); !why.empty()) return why;
  if (!request.budget.min_tok_s) return plan_within(profile, *method, request);
  auto result = plan_within(in_nanoseconds(profile), *method, request);
  if (Plan* plan = std::get_if<Plan>(&result)) {
    plan->bytes = profile.fixed_bytes;
    for (const Unit& unit : profile.units)
      plan->bytes +=
          std::ranges::find(unit.candidates, plan->units.at(unit.name), &Candidate::choice)->bytes;
    plan->bpw = bits_per_weight(profile, plan->bytes);
  }
  return result;
}

}  // namespace klens
