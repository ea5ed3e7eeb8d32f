#include "engine/c_api/reports.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "engine/version.h"
#include "loaders/choice_json.h"
#include "loaders/profile_json.h"
#include "quant/agreement.h"

namespace klens {
namespace {

using nlohmann::ordered_json;

// Texts of a model's may be no UTF-8.
std::string dump(const ordered_json& json) {
  return json.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

// A value under `key`, its standard error under `key`_stderr.
void put(ordered_json& json, const std::string& key, const MeanError& value) {
  json[key] = value.mean;
  json[key + "_stderr"] = value.error;
}
void put(ordered_json& json, const char* key, const std::optional<double>& value) {
  if (value) json[key] = *value;
}
void put(ordered_json& json, const std::string& prefix, const Percentiles& values) {
  for (size_t i = 0; i < values.size(); ++i) json[prefix + kPercentiles[i].name] = values[i];
}

ordered_json or_null(const std::optional<int64_t>& value) {
  return value ? ordered_json(*value) : ordered_json();
}
ordered_json or_null(const std::string& text) {
  return text.empty() ? ordered_json() : ordered_json(text);
}

ordered_json to_json(const std::vector<MissingStop>& stops) {
  ordered_json json = ordered_json::array();
  for (const MissingStop& stop : stops)
    json.push_back({{"id", or_null(stop.id)}, {"text", stop.text}, {"from", stop.from}});
  return json;
}

ordered_json to_json(const UnitReport& unit) {
  ordered_json json = {{"name", unit.name},   {"kind", unit.kind}, {"layer", or_null(unit.layer)},
                       {"block", unit.block}, {"rows", unit.rows}, {"cols", unit.cols}};
  put_choice(unit.choice, json);
  json["bytes"] = unit.bytes;
  put(json, kKl.name, unit.kl);
  return json;
}

ordered_json to_json(const std::vector<UnitReport>& units) {
  ordered_json json = ordered_json::array();
  for (const UnitReport& unit : units) json.push_back(to_json(unit));
  return json;
}

ordered_json to_json(const Agreement& agreement) {
  ordered_json json = {{"tau", nullptr}, {"low", nullptr}, {"high", nullptr}};
  put(json, "tau", agreement.tau);
  if (agreement.interval) {
    json["low"] = agreement.interval->low;
    json["high"] = agreement.interval->high;
  }
  return json;
}

ordered_json to_json(const Validation& v) {
  ordered_json json = {{"source", v.source}, {"tokens", v.tokens},       {"windows", v.windows},
                       {"seed", v.seed},     {"draws", kBootstrapDraws}, {"perplexity", v.ppl}};
  ordered_json candidates = ordered_json::array(), agreement = ordered_json::array();
  for (const ValidatedCandidate& c : v.candidates) {
    ordered_json& to = candidates.emplace_back();
    to["unit"] = c.unit;
    put_choice(c.choice, to);
    to[kPpl.name] = c.ppl;
    to[kDeltaCe.name] = c.delta_ce;
    to[kKl.name] = c.kl;
  }
  for (const MetricAgreement& a : v.agreements)
    agreement.push_back({{"format", a.format},
                         {"with_head", a.with_head},
                         {"metric", a.metric->name},
                         {"units", a.units},
                         {"with_perplexity", to_json(a.ppl)},
                         {"with_kl", to_json(a.kl)}});
  json["candidates"] = std::move(candidates);
  json["agreement"] = std::move(agreement);
  return json;
}

ordered_json to_json(const Plan& plan) { return ordered_json::parse(plan_to_json(plan)); }

}  // namespace

std::string report_json(const PerplexityReport& r) {
  return dump({{"tokens", r.tokens},
               {"windows", r.windows},
               {"nll", r.nll},
               {"ppl", r.ppl.mean},
               {"ppl_stderr", r.ppl.error},
               {"word_ppl", r.word_ppl},
               {"bits_per_byte", r.bits_per_byte},
               {"tok_s", r.tok_s}});
}

std::string report_json(const CompareReport& r) {
  ordered_json json;
  put(json, "kl", r.kl);
  put(json, "kl", r.kl_percentiles);
  put(json, "top1_agreement", r.top1_agreement);
  put(json, "ppl_a", r.ppl_a);
  put(json, "ppl_b", r.ppl_b);
  json["ln_ppl_correlation"] = r.ln_ppl_correlation;
  put(json, "ln_ppl_ratio", r.ln_ppl_ratio);
  put(json, "ppl_ratio", r.ppl_ratio);
  put(json, "ppl_difference", r.ppl_difference);
  put(json, "delta_p_mean", r.delta_p);
  put(json, "delta_p_rms", r.delta_p_rms);
  put(json, "delta_p", r.delta_p_percentiles);
  json["tokens"] = r.tokens;
  json["windows"] = r.windows;
  json["tok_s"] = r.tok_s;
  return dump(json);
}

std::string report_json(const InspectReport& r) {
  ordered_json json = {{"path", r.path},
                       {"name", r.name},
                       {"architecture", r.architecture},
                       {"parameters", r.parameters},
                       {"bytes", r.bytes},
                       {"bpw", r.bpw},
                       {"file_bytes", r.file_bytes},
                       {"vocab", r.vocab},
                       {"d_model", r.d_model},
                       {"context_length", or_null(r.context_length)},
                       {"layers", r.layers},
                       {"stored_types", r.stored_types},
                       {"blocks", r.blocks},
                       {"tied_head", r.tied_head},
                       {"left_out", r.left_out},
                       {"tokenizer", r.tokenizer},
                       {"tokenizer_error", or_null(r.tokenizer_problem)},
                       {"chat_template", r.chat_template},
                       {"stop_tokens", ordered_json::parse(stop_tokens_json(r.stop_tokens))},
                       {"missing_stop_tokens", to_json(r.missing_stops)},
                       {"units", to_json(r.units)},
                       {"plan", r.plan ? to_json(*r.plan) : ordered_json()},
                       {"provenance", r.provenance}};
  // Reading refuses what fails these, so a report exists only for a sound file.
  json["checks"] = {{"structure", "ok"},
                    {"shapes", "ok"},
                    {"checksums", !r.plan      ? "none in a checkpoint"
                                  : r.verified ? "ok"
                                               : "not checked (--verify)"}};
  return dump(json);
}

std::string report_json(const QuantizeReport& r) {
  ordered_json json = {{"bytes", r.bytes}, {"bpw", r.plan.bpw}};
  if (r.evaluation) {
    put(json, kKl.name, r.evaluation->kl);
    json["ppl_before"] = r.evaluation->ppl_before;
    json["ppl_after"] = r.evaluation->ppl_after;
    json["evaluation"] = r.evaluation->text;
  }
  if (!r.source_formats.empty()) json["source_formats"] = r.source_formats;
  json["rounds"] = r.rounds;
  if (r.race) {
    ordered_json& race = json["race"];
    race["windows"] = r.race->windows;
    race["of"] = r.race->of;
    if (r.race->seconds_saved) {
      race["share"] = r.race->share;
      race["regret"] = r.race->regret;
      race["seconds_saved"] = *r.race->seconds_saved;
    }
  }
  if (!r.checked.empty()) {
    const auto [least, most] = std::ranges::minmax(r.checked);
    json["checked"] = {{"choices", r.checked.size()},
                       {"least", least},
                       {"median", median(r.checked)},
                       {"most", most},
                       {"taken", !r.unchecked}};
  }
  if (r.measured_tok_s) json["measured_tok_s"] = *r.measured_tok_s;
  if (r.inputs_unknown) json["inputs_unknown"] = true;
  put(json, "predicted_kl", r.plan.predicted_kl);
  put(json, "measured_kl", r.plan.measured_kl);
  json["plan"] = to_json(r.plan);
  json["units"] = to_json(r.units);
  json["seconds"] = r.seconds;
  if (r.profile) json["profile"] = ordered_json::parse(profile_to_json(*r.profile));
  return dump(json);
}

std::string report_json(const PlanMethod& method, const std::vector<ModuleOutliers>& outliers) {
  ordered_json json = {{"method", method.name}, {"metric", method.outliers->metric.name}};
  json["modules"] = ordered_json::array();
  for (const ModuleOutliers& module : outliers) {
    std::vector<ModuleOutliers::Layer> layers = module.layers;
    std::ranges::stable_sort(layers, {}, &ModuleOutliers::Layer::layer);
    ordered_json &to = json["modules"].emplace_back(), numbers = ordered_json::array(),
                 z = ordered_json::array();
    for (const ModuleOutliers::Layer& layer : layers) {
      numbers.push_back(layer.layer);
      z.push_back(layer.z);
    }
    to = {{"module", module.module}, {"layers", std::move(numbers)}, {"z", std::move(z)}};
  }
  return dump(json);
}

std::string profile_json(const Profile& profile, const Validation& validation) {
  ordered_json json = ordered_json::parse(profile_to_json(profile));
  json["validation"] = to_json(validation);
  return json.dump(1, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

std::string report_json(const BenchReport& r) {
  ordered_json json = {{"isa", r.isa},
                       {"threads", r.threads},
                       {"batch", r.batch},
                       {"depth", r.depth},
                       {"weight_bytes", r.weight_bytes},
                       {"state_bytes", r.state_bytes},
                       {"read_gb_s", r.read_gb_s},
                       {"integer_gop_s", r.integer_gop_s}};
  put(json, "first_token_ms", r.first_token_ms);
  put(json, "prefill_gop_s", r.prefill_gop_s);
  put(json, "token_ms", r.token_ms);
  put(json, "decode_gb_s", r.decode_gb_s);
  json["tests"] = ordered_json::array();
  for (const BenchTest& test : r.tests) {
    ordered_json shares;
    for (const auto& [step, share] : test.shares) shares[step] = share;
    json["tests"].push_back({{"name", test.name},
                             {"tok_s", test.tok_s},
                             {"stddev", test.stddev},
                             {"samples", test.samples},
                             {"shares", std::move(shares)}});
    if (test.kernels.empty()) continue;
    ordered_json& kernels = json["tests"].back()["kernels"] = ordered_json::array();
    for (const BenchKernel& kernel : test.kernels)
      kernels.push_back({{"kernel", kernel.name},
                         {"launches", kernel.launches},
                         {"ms", kernel.ms},
                         {"share", kernel.share}});
  }
  return dump(json);
}

std::string report_json(const SweepReport& r) {
  // The head of profile.json as it is there.
  Profile head = r.profile;
  head.units.clear();
  const ordered_json profile = ordered_json::parse(profile_to_json(head));
  ordered_json json = {{"klens_sweep", 1},
                       {"tool", std::string("klens ") + kVersion},
                       {"model", profile.at("model")},
                       {"calibration", profile.at("calibration")},
                       {"evaluation",
                        {{"text", r.text},
                         {"windows", r.windows},
                         {"window", r.profile.window},
                         {"tokens", r.tokens},
                         {kPpl.name, r.ppl}}},
                       {"machine",
                        {{"device", r.device},
                         {"isa", r.level},
                         {"threads", r.threads},
                         {"generate", r.generate},
                         {"repetitions", r.repetitions}}}};
  if (!r.quantised_from.empty()) json["source_formats"] = r.quantised_from;
  json["methods"] = r.methods;
  json["points"] = ordered_json::array();
  for (const SweepPoint& point : r.points) {
    ordered_json& to = json["points"].emplace_back(
        ordered_json{{"method", point.method}, {"budget", point.budget}});
    if (!point.refused.empty()) {
      to["refused"] = point.refused;
      continue;
    }
    const PlanFigures& plan = r.plans[point.plan];
    to["bpw"] = plan.plan.bpw;
    to["bytes"] = plan.bytes;
    to["predicted_kl"] = point.predicted_kl;
    if (point.rounds) to["refined"] = *point.rounds;
    put(to, kKl.name, plan.kl);
    to[kPpl.name] = plan.ppl;
    put(to, "tok_s", plan.tok_s);
    put(to, "tok_s_stddev", plan.tok_s_stddev);
    to["plan"] = point.plan;
  }
  if (r.profiled) json["profile"] = ordered_json::parse(profile_to_json(r.profile));
  return dump(json);
}

std::string agreement_json(const Profile& profile) {
  const RankAgreement agreement = rank_agreement(profile);
  ordered_json json = {{"units", agreement.units},
                       {"metrics", ordered_json::array()},
                       {"tau", ordered_json::array()},
                       {"candidates", ordered_json::array()}};
  for (const Metric* metric : agreement.metrics) json["metrics"].push_back(metric->name);
  for (const auto& row : agreement.tau) {
    ordered_json& to = json["tau"].emplace_back(ordered_json::array());
    for (const std::optional<double>& tau : row)
      to.push_back(tau ? ordered_json(*tau) : ordered_json());
  }
  for (const Unit& unit : profile.units) {
    const Candidate* ranked = ranked_candidate(unit);
    json["candidates"].push_back(ranked == nullptr ? ordered_json()
                                                   : ordered_json(ranked - unit.candidates.data()));
  }
  return dump(json);
}

}  // namespace klens
