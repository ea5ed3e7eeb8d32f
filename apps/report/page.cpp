#include "apps/report/page.h"

#include "apps/cli/common.h"
#include "apps/cli/error.h"
#include "apps/cli/fields.h"
#include "apps/cli/output.h"
#include "apps/report/html.h"
#include "apps/report/maps.h"
#include "apps/report/points.h"
#include "apps/report/style.h"
#include "apps/svg_chart.h"

namespace klens::apps {
namespace {

using nlohmann::ordered_json;
using Pairs = std::vector<std::pair<std::string, std::string>>;

const ordered_json& model_of(const ReportInputs& inputs) {
  return (inputs.profile ? inputs.profile : inputs.sweep)->json.at("model");
}

std::string title_of(const ReportInputs& inputs) {
  const std::string name = text_at(model_of(inputs), "name");
  return name.empty() ? "A model" : name;
}

std::string count_text(double count) {
  if (count >= 1e9) return formatted("%.2f G", count / 1e9);
  if (count >= 1e6) return formatted("%.1f M", count / 1e6);
  return formatted("%.0f", count);
}

std::string tiles(const ReportInputs& inputs) {
  const ordered_json& model = model_of(inputs);
  std::string out = "<ul class=\"tiles\">\n";
  const auto tile = [&](const std::string& value, const std::string& what) {
    if (!value.empty())
      out += "<li><b>" + escaped(value) + "</b><span>" + escaped(what) + "</span></li>\n";
  };
  if (const auto parameters = number_at(model, "parameters"))
    tile(count_text(*parameters), "parameters");
  if (inputs.profile)
    tile(std::to_string(inputs.profile->json.at("units").size()), "matrices profiled");
  if (!inputs.plans.empty())
    tile(std::to_string(inputs.plans.size()),
         inputs.plans.size() == 1 ? "plan shown" : "plans shown");
  if (inputs.sweep)
    tile(std::to_string(inputs.sweep->json.at("points").size()), "points of the sweep");
  if (!inputs.peers.empty()) tile(std::to_string(inputs.peers.size()), "points of other engines");
  return out + "</ul>\n";
}

void add(Pairs& pairs, const std::string& name, const std::string& value) {
  if (!value.empty()) pairs.emplace_back(name, value);
}

std::string windows_text(const ordered_json& json, const std::string& source) {
  std::string text = source;
  if (const auto windows = number_at(json, "windows"))
    text += formatted(", %.0f windows", *windows);
  if (const auto window = number_at(json, "window")) text += formatted(" of %.0f tokens", *window);
  return text;
}

void add_calibration(const ordered_json& json, Pairs& pairs) {
  const auto it = json.find("calibration");
  if (it == json.end() || !it->is_object()) return;
  const std::string source = text_at(*it, "source");
  add(pairs, "profile made from",
      windows_text(*it, source == "teacher" ? "text sampled from the model" : source));
  if (const auto seed = it->find("seed"); seed != it->end() && seed->is_number())
    add(pairs, "seed", seed->dump());
  add(pairs, "activations measured in", text_at(*it, "activations"));
}

void add_sweep(const ordered_json& sweep, Pairs& pairs) {
  const ordered_json &machine = sweep.at("machine"), &evaluation = sweep.at("evaluation");
  add(pairs, "swept by", text_at(sweep, "tool"));
  add(pairs, "judged by", windows_text(evaluation, text_at(evaluation, "text")));
  add(pairs, "instruction set", text_at(machine, "isa"));
  if (const auto threads = number_at(machine, "threads"))
    add(pairs, "threads", formatted("%.0f", *threads));
  add(pairs, "the model was quantised before", text_at(sweep, "source_formats"));
}

std::string provenance_section(const ReportInputs& inputs) {
  const ordered_json& model = model_of(inputs);
  Pairs pairs;
  add(pairs, "model", text_at(model, "name"));
  add(pairs, "checksum of the weights (XXH3)", text_at(model, "checkpoint_xxh3"));
  add_calibration((inputs.profile ? inputs.profile : inputs.sweep)->json, pairs);
  if (inputs.sweep) add_sweep(inputs.sweep->json, pairs);
  if (inputs.profile) add(pairs, "profile", inputs.profile->path);
  for (const ReportFile& plan : inputs.plans) add(pairs, "plan", plan.path);
  if (inputs.sweep) add(pairs, "sweep", inputs.sweep->path);
  add(pairs, "other engines' points", inputs.peers_path);
  add(pairs, "page written by", std::string("klens ") + klens_version());
  return section("provenance", "Provenance", description_list(pairs));
}

struct Part {
  const char* id;
  const char* name;
  std::string html;
};

std::string navigation(const std::vector<Part>& parts) {
  std::string out = "<nav aria-label=\"Sections\"><ul>\n";
  for (const Part& part : parts)
    if (!part.html.empty())
      out += std::string("<li><a href=\"#") + part.id + "\">" + part.name + "</a></li>\n";
  return out + "</ul></nav>\n";
}

}  // namespace

std::string report_page(const ReportInputs& inputs) {
  std::vector<Part> parts;
  if (inputs.sweep) {
    parts.push_back({"frontier", "Frontier", frontier_section(inputs)});
    parts.push_back({"prediction", "Predicted and measured", prediction_section(inputs)});
  }
  if (inputs.profile) {
    parts.push_back({"sensitivity", "Sensitivity", sensitivity_section(inputs)});
    parts.push_back({"plans", "Plans", plan_section(inputs)});
    parts.push_back({"agreement", "Agreement of metrics", agreement_section(inputs)});
  }
  std::string body;
  for (const Part& part : parts) body += part.html;
  if (body.empty())
    throw Error((inputs.profile ? inputs.profile : inputs.sweep)->path +
                ": nothing in it was measured, so there is nothing to report; profile or sweep "
                "the model again");
  parts.push_back({"provenance", "Provenance", provenance_section(inputs)});
  const std::string title = escaped(title_of(inputs)),
                    architecture = text_at(model_of(inputs), "architecture");
  return "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
         "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
         "'unsafe-inline'\">\n"
         "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>" +
         title + ": sensitivity and frontier</title>\n<style>" + kReportStyle +
         "</style>\n</head>\n<body>\n<a class=\"skip\" href=\"#content\">To the content</a>\n"
         "<header>\n<h1>" +
         title + "</h1>\n" +
         paragraph((architecture.empty() ? "" : architecture + ". ") +
                       "What quantising this model costs, matrix by matrix and plan by plan. KL is "
                       "the divergence of its predictions, in nats per token.",
                   "soft") +
         tiles(inputs) + navigation(parts) + "</header>\n<main id=\"content\">\n" + body +
         parts.back().html + "</main>\n<footer>Made by klens " + escaped(klens_version()) +
         ". The numbers of all pictures are in its tables.</footer>\n</body>\n</html>\n";
}

}  // namespace klens::apps
