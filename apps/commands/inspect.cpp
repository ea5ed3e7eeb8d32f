#include <algorithm>
#include <nlohmann/json.hpp>

#include "apps/cli/command.h"
#include "apps/cli/common.h"
#include "apps/cli/output.h"
#include "apps/plan_view.h"
#include "apps/terminal/progress.h"

namespace klens::apps {
namespace {

using nlohmann::ordered_json;

std::string value_text(const ordered_json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_boolean()) return value.get<bool>() ? "yes" : "no";
  if (value.is_number_float()) return formatted("%.6g", value.get<double>());
  return value.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

std::string grouped(int64_t number) {
  std::string text = std::to_string(number);
  for (size_t at = text.size(); at > 3; at -= 3) text.insert(at - 3, ",");
  return text;
}

// What is left of an object after its tables: one line per key.
void print_object(const char* title, const ordered_json& report, const char* key,
                  const Style& style) {
  const auto it = report.find(key);
  if (it == report.end() || it->empty()) return;
  print("\n" + style.bold(title) + "\n");
  if (!it->is_object()) {
    print(report_line("", value_text(*it)));
    return;
  }
  for (const auto& [name, value] : it->items()) {
    if (!value.is_structured()) print(report_line(name, value_text(value)));
  }
}

std::string tokenizer_text(const ordered_json& r) {
  if (const ordered_json& error = r.at("tokenizer_error"); !error.is_null())
    return "cannot be used: " + value_text(error);
  return r.at("tokenizer") == true ? "yes" : "none";
}

// "<|end|> (7, config.json); (70000, config.json): not in the vocabulary".
std::string stops_text(const ordered_json& r) {
  std::string text;
  const auto add = [&](const ordered_json& stop, const char* note) {
    const ordered_json &id = stop.at("id"), &spelled = stop.at("text");
    text += (text.empty() ? "" : "; ") + value_text(spelled) + (spelled == "" ? "(" : " (") +
            (id.is_null() ? "" : value_text(id) + ", ") + value_text(stop.at("from")) + ")" + note;
  };
  const ordered_json& missing = r.at("missing_stop_tokens");
  for (const ordered_json& stop : r.at("stop_tokens"))
    if (std::none_of(missing.begin(), missing.end(),
                     [&](const ordered_json& other) { return other.at("id") == stop.at("id"); }))
      add(stop, "");
  for (const ordered_json& stop : missing) add(stop, ": not in the vocabulary");
  return text.empty() ? "none" : text;
}

void print_inspect_report(const std::string& path, const ordered_json& r) {
  const Style style = output_style();
  print(style.bold(path) + "\n");
  print(report_line("architecture", r.value("architecture", "")));
  print(report_line("parameters", grouped(r.value("parameters", int64_t{0}))));
  print(report_line("weights", human_bytes(r.value("bytes", 0.0)) + ", " +
                                   number_or_dash(r, "bpw", "%.3f") + " bits per weight"));
  print(report_line("file", grouped(r.value("file_bytes", int64_t{0})) + " bytes (" +
                                human_bytes(r.value("file_bytes", 0.0)) + ")"));
  for (const char* key : {"vocab", "d_model", "context_length", "layers", "tied_head"}) {
    if (r.contains(key) && !r[key].is_null()) print(report_line(key, value_text(r[key])));
  }
  if (const std::string left_out = r.value("left_out", ""); !left_out.empty())
    print(report_line("left out", left_out));
  print(report_line("tokenizer", tokenizer_text(r)));
  print(report_line("stop tokens", stops_text(r)));
  std::string types;
  for (const auto& [type, count] : r.at("stored_types").items())
    types += (types.empty() ? "" : ", ") + value_text(count) + " " + type;
  print(report_line("stored tensors", types));
  const std::vector<UnitRow> rows = rows_of_report(r.at("units"));
  print("\n" + style.bold("units") + "\n" + unit_table(rows, SIZE_MAX, style));
  print("\n" + format_table(rows, style));
  print("\n" + block_map(format_cells(rows), style));
  print_object("plan", r, "plan", style);
  print_object("provenance", r, "provenance", style);
  print_object("checks", r, "checks", style);
}

void run_inspect(const Arguments& arguments) {
  const std::string path = model_path(arguments);
  const bool verify = arguments.flag("verify"), json = arguments.flag("json");
  const ordered_json report = report_of([&](char** text, klens_error* e) {
    const StatusLine status(arguments.flag("quiet"),
                            (verify ? "checking " : "reading ") + file_name(path));
    return klens_inspect(path.c_str(), verify ? 1 : 0, text, e);
  });
  if (json) {
    print_json(report);
  } else {
    print_inspect_report(path, report);
  }
}

}  // namespace

Command inspect_command() {
  OptionGroup output = general_options();
  output.options.push_back(quiet_option());
  return {
      "inspect",
      "MODEL [options]",
      "what a model holds: spec, units, plan, provenance, checks",
      "Reads a checkpoint folder, a .gguf or a .klens file without running it. Damage is an error.",
      "  klens inspect model.klens\n"
      "  klens inspect model.klens --verify --json\n",
      {{"Input",
        {{"verify", "", "also compare every tensor with its checksum"},
         {"m,model", "MODEL", "instead of the first argument"}}},
       output},
      run_inspect};
}

}  // namespace klens::apps
