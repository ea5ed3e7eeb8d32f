#include "loaders/profile_json.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "base/error.h"
#include "loaders/choice_json.h"
#include "loaders/json.h"
#include "loaders/json_object.h"
#include "quant/layer.h"
#include "quant/unit_name.h"

namespace klens {
namespace {

using nlohmann::ordered_json;

constexpr double kHuge = 1e100;  // what a broken student's perplexity may be
const std::string kKlStderr = std::string(kKl.name) + "_stderr";
const std::string kKlWindows = std::string(kKl.name) + "_windows";
constexpr const char* kPredicted = "predicted";
constexpr const char* kDecodeUs = "decode_us";
constexpr double kMostUs = 1e9;                   // sums of nanoseconds fit
constexpr int64_t kMostBytes = int64_t{1} << 52;  // sums of bytes stay exact as doubles

void put(ordered_json& to, const char* key, const std::optional<double>& value) {
  if (value && std::fabs(*value) <= kHuge) to[key] = *value;  // JSON has no other numbers
}

// A folder's name may be no UTF-8, and ends up as the model's.
std::string dump(const ordered_json& json) {
  return json.dump(1, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

ordered_json candidate_to_json(const Candidate& c) {
  ordered_json json;
  put_choice(c.choice, json);
  json["bytes"] = c.bytes;
  for (const Metric* metric : kMetrics) {
    put(json, metric->name, c.value(*metric));
    if (metric == &kKl) put(json, kKlStderr.c_str(), c.kl_stderr);
  }
  const auto finite = [](double x) { return std::isfinite(x); };
  if (!c.kl_windows.empty() && std::all_of(c.kl_windows.begin(), c.kl_windows.end(), finite))
    json[kKlWindows] = c.kl_windows;
  if (c.predicted) json[kPredicted] = true;
  put(json, kDecodeUs, c.decode_us);
  return json;
}

ordered_json unit_to_json(const Unit& unit) {
  const std::optional<int64_t> layer = layer_of(unit.name);
  ordered_json json = {{"name", unit.name},
                       {"kind", unit.kind},
                       {"layer", layer ? ordered_json(*layer) : ordered_json()},
                       {"block", unit.block},
                       {"rows", unit.rows},
                       {"cols", unit.cols}};
  for (const Metric* metric : kMetrics) put(json, metric->name, unit.weights[*metric]);
  json["candidates"] = ordered_json::array();
  // A candidate whose logits were not finite is none; without its KL it would only stop planners.
  for (const Candidate& c : unit.candidates)
    if (!c.kl || std::isfinite(*c.kl)) json["candidates"].push_back(candidate_to_json(c));
  return json;
}

std::optional<double> metric_from_json(const JsonObject& json, const Metric& metric) {
  return metric.from_zero ? json.number_from_zero(metric.name, kHuge) : json.number(metric.name);
}

Candidate candidate_from_json(const JsonObject& json) {
  Candidate c;
  c.choice = choice_from_json(json);
  c.bytes = json.count("bytes");
  for (const Metric* metric : kMetrics)
    if (metric->of_candidates()) c.value(*metric) = metric_from_json(json, *metric);
  c.kl_stderr = json.number_from_zero(kKlStderr.c_str());
  c.kl_windows = json.numbers(kKlWindows.c_str());
  c.predicted = json.flag_or(kPredicted, false);
  c.decode_us = json.number_from_zero(kDecodeUs, kMostUs);
  return c;
}

// The rows that a unit's name says it has, which are as many as the file says.
void check_rows(const JsonObject& json, const Unit& unit) {
  const std::optional<UnitName> name = parse_unit_name(unit.name);
  if (!name) json.fail("name", "ends in brackets that hold no rows FIRST:END, such as [0:512]");
  if (name->rows && name->rows->end - name->rows->first != unit.rows)
    json.fail("rows", "is " + std::to_string(unit.rows) + ", but its name says " +
                          std::to_string(name->rows->end - name->rows->first));
}

Unit unit_from_json(JsonObject json) {
  Unit unit;
  unit.name = json.text("name");
  json.call_it("unit " + unit.name);
  unit.kind = json.text_or("kind", "");
  unit.block = json.integer_or("block", -1, -1);
  unit.rows = json.count_or("rows", 0);
  unit.cols = json.count_or("cols", 0);
  check_rows(json, unit);
  for (const Metric* metric : kMetrics)
    if (!metric->of_candidates()) unit.weights[*metric] = metric_from_json(json, *metric);
  std::set<Choice> seen;
  for (const JsonObject& item : json.objects("candidates")) {
    Candidate c = candidate_from_json(item);
    if (!seen.insert(c.choice).second)
      json.fail("candidates", "names " + text_of(c.choice) + " twice: keep one of them");
    unit.candidates.push_back(std::move(c));
  }
  if (unit.candidates.empty())
    json.fail("candidates", std::string("is empty: a unit needs at least the ") + kBaseFormat.name +
                                " candidate; profile again");
  return unit;
}

// No row of a matrix is in two units.
void add_part(const JsonObject& json, const std::string& unit,
              std::map<std::string, std::vector<RowRange>>& parts) {
  const UnitName name = *parse_unit_name(unit);
  const RowRange rows = name.rows.value_or(RowRange{0, INT64_MAX});
  std::vector<RowRange>& others = parts[name.matrix];
  for (const RowRange& other : others)
    if (rows.first < other.end && other.first < rows.end)
      json.fail("units", "give rows of " + name.matrix + " to two units: keep one of them");
  others.push_back(rows);
}

void calibration_from_json(const JsonObject& json, Profile& profile) {
  profile.calibration_source = json.text_or("source", "");
  profile.tokens = json.count_or("tokens", 0);
  profile.windows = json.count_or("windows", 0);
  profile.window = json.count_or("window", 0);
  profile.seed = json.seed_or("seed", 0);
  profile.activations = json.text_or("activations", "");
  profile.suffix = json.text_or("suffix", "");
}

// "4.5 bpw", "2400000 bytes", "kl 0.02", "20 tok/s", or nothing where there was no budget.
bool is_budget(const std::string& text) {
  std::string number;
  bool whole = false;
  if (text.empty()) return true;
  if (text.ends_with(" bpw")) {
    number = text.substr(0, text.size() - 4);
  } else if (text.ends_with(" bytes")) {
    number = text.substr(0, text.size() - 6);
    whole = true;
  } else if (text.ends_with(" tok/s")) {
    number = text.substr(0, text.size() - 6);
  } else if (text.starts_with("kl ")) {
    number = text.substr(3);
  }
  const auto json = nlohmann::json::parse(number, nullptr, false);
  return whole ? json.is_number_unsigned()
               : json.is_number() && std::isfinite(json.get<double>()) && json.get<double>() >= 0;
}

}  // namespace

std::string profile_to_json(const Profile& profile) {
  ordered_json json = {{"klens_profile", 1}};
  json["model"] = {{"name", profile.model_name},
                   {"architecture", profile.architecture},
                   {"parameters", profile.parameters},
                   {"checkpoint_xxh3", profile.checkpoint_xxh3}};
  json["calibration"] = {{"source", profile.calibration_source},
                         {"tokens", profile.tokens},
                         {"windows", profile.windows},
                         {"window", profile.window},
                         {"seed", profile.seed},
                         {"activations", profile.activations}};
  if (!profile.suffix.empty()) json["calibration"]["suffix"] = profile.suffix;
  json["fixed_bytes"] = profile.fixed_bytes;
  if (profile.header_bytes != 0) json["header_bytes"] = profile.header_bytes;
  if (profile.decode_rest_us)
    json["times"] = {{"decode_rest_us", *profile.decode_rest_us}, {"on", profile.timed_on}};
  json["units"] = ordered_json::array();
  for (const Unit& unit : profile.units) json["units"].push_back(unit_to_json(unit));
  return dump(json);
}

Profile profile_from_json(std::string_view text, const std::string& name) {
  const JsonDocument parsed = parse_json(text, name);
  const JsonObject json(*parsed, name, "mend it or profile the model again");
  if (json.has("klens_plan") && !json.has("klens_profile"))
    throw Error(ErrorKind::kBadFile,
                name +
                    ": is a plan, not a profile; give what `klens profile` wrote, or bake this "
                    "plan with `klens quantize MODEL --plan`");
  json.check_version("klens_profile", 1);
  Profile profile;
  const JsonObject model = json.object("model");
  profile.model_name = model.text_or("name", "");
  profile.architecture = model.text_or("architecture", "");
  profile.parameters = model.count("parameters");
  profile.checkpoint_xxh3 = model.text_or("checkpoint_xxh3", "");
  if (json.has("calibration")) calibration_from_json(json.object("calibration"), profile);
  profile.fixed_bytes = json.count("fixed_bytes");
  profile.header_bytes = json.count_or("header_bytes", 0);
  if (json.has("times")) {
    const JsonObject times = json.object("times");
    profile.decode_rest_us = times.number_from_zero("decode_rest_us", kMostUs);
    profile.timed_on = times.text_or("on", "");
  }
  std::set<std::string> names;
  std::map<std::string, std::vector<RowRange>> parts;  // of matrices
  int64_t largest = profile.fixed_bytes + profile.header_bytes;
  for (const JsonObject& item : json.objects("units")) {
    Unit unit = unit_from_json(item);
    if (!names.insert(unit.name).second)
      json.fail("units", "names " + unit.name + " twice: keep one of them");
    add_part(json, unit.name, parts);
    int64_t most = 0;
    for (const Candidate& c : unit.candidates) most = std::max(most, c.bytes);
    largest += most;
    if (largest > kMostBytes) json.fail("units", "add up to more than 2^52 bytes");
    profile.units.push_back(std::move(unit));
  }
  if (profile.units.empty()) json.fail("units", "is empty: profile the model again");
  return profile;
}

std::string plan_to_json(const Plan& plan) {
  ordered_json json = {{"klens_plan", 1},
                       {"method", plan.method},
                       {"budget", plan.budget},
                       {"bytes", plan.bytes},
                       {"bpw", plan.bpw}};
  put(json, "predicted_kl", plan.predicted_kl);
  put(json, "measured_kl", plan.measured_kl);
  put(json, "measured_kl_stderr", plan.measured_kl_stderr);
  put(json, "predicted_tok_s", plan.predicted_tok_s);
  put(json, "optimality_gap", plan.optimality_gap);
  json["units"] = ordered_json::object();
  for (const auto& [name, choice] : plan.units) put_choice(choice, json["units"][name]);
  return dump(json);
}

Plan plan_from_json(std::string_view text, const std::string& name) {
  const JsonDocument parsed = parse_json(text, name);
  const JsonObject json(*parsed, name, "mend it or plan again");
  if (json.has("klens_profile") && !json.has("klens_plan"))
    throw Error(ErrorKind::kBadFile,
                name + ": is a profile, not a plan; `klens plan` makes one of it");
  json.check_version("klens_plan", 1);
  Plan plan;
  plan.method = json.text_or("method", "given");
  plan.budget = json.text_or("budget", "");
  if (!is_budget(plan.budget))
    json.fail("budget",
              "is '" + plan.budget +
                  "', which is none of '4.5 bpw', '2400000 bytes', 'kl 0.02', '20 tok/s'");
  plan.bytes = json.count_or("bytes", 0);
  plan.bpw = json.number_from_zero("bpw").value_or(0);
  plan.predicted_kl = json.number("predicted_kl");
  plan.measured_kl = json.number("measured_kl");
  plan.measured_kl_stderr = json.number_from_zero("measured_kl_stderr");
  plan.predicted_tok_s = json.number_from_zero("predicted_tok_s", kHuge);
  plan.optimality_gap = json.number_from_zero("optimality_gap");
  const JsonObject units = json.object("units");
  for (const std::string& unit : units.keys()) {
    if (!parse_unit_name(unit))
      units.fail(unit, "ends in brackets that hold no rows FIRST:END, such as [0:512]");
    plan.units[unit] = choice_from_json(units.object(unit));
  }
  if (plan.units.empty()) json.fail("units", "is empty: a plan names a format for every unit");
  return plan;
}

std::string number_text(double value) { return ordered_json(value).dump(); }

}  // namespace klens
