#include <nlohmann/json.hpp>

#include "apps/calibration.h"
#include "apps/cli/command.h"
#include "apps/cli/common.h"
#include "apps/cli/error.h"
#include "apps/cli/files.h"
#include "apps/cli/output.h"
#include "apps/cli/tables.h"
#include "apps/plan_view.h"

namespace klens::apps {
namespace {

using nlohmann::ordered_json;

void print_plan_report(const ordered_json& profile, const ordered_json& plan) {
  const Style style = output_style();
  const std::vector<UnitRow> rows = rows_of_plan(profile, plan);
  const std::string budget = plan.value("budget", "");
  print(report_line("method", plan.value("method", "")));
  if (!budget.empty()) print(report_line("budget", budget));
  print(report_line("weights", human_bytes(plan.value("bytes", 0.0)) + ", " +
                                   number_or_dash(plan, "bpw", "%.3f") + " bits per weight"));
  print(report_line("predicted KL",
                    number_or_dash(plan, "predicted_kl", "%.6f") + " nats per token"));
  if (plan.contains("predicted_tok_s"))
    print(report_line("predicted speed", number_or_dash(plan, "predicted_tok_s", "%.1f") +
                                             " decoded tokens per second"));
  print("\n" + unit_table(rows, SIZE_MAX, style));
  print("\n" + format_table(rows, style));
  print("\n" + block_map(format_cells(rows), style));
}

// The library has the profile's text only: the file it came from is ours to name.
template <class Call>
std::string text_about(const std::string& path, const Call& call) {
  try {
    return text_of(call);
  } catch (const Failure& failure) {
    const std::string what = failure.what();
    throw Error(path + (what.starts_with("profile: ") ? what.substr(7) : ": " + what));
  }
}

// "  self_attn.q_proj          2, 31", in as many lines as that takes.
std::string outlier_lines(const ordered_json& module) {
  std::string lines, line = report_line(module.at("module").get<std::string>(), "");
  line.pop_back();
  const size_t indent = line.size();
  const ordered_json& layers = module.at("layers");
  for (size_t i = 0; i < layers.size(); ++i) {
    const std::string word =
        std::to_string(layers[i].get<int64_t>()) + (i + 1 < layers.size() ? ", " : "");
    if (line.size() + word.size() > kLineColumns && line.size() > indent) {
      lines += line.substr(0, line.size() - 1) + "\n";
      line = std::string(indent, ' ');
    }
    line += word;
  }
  return lines + line + (layers.empty() ? "-" : "") + "\n";
}

void list_outliers(const Arguments& arguments, const std::string& path) {
  if (arguments.given("output")) throw UsageError("--outliers makes no plan to write: use --json");
  const std::string source = arguments.one_of({"bpw", "size", "max-kl", "min-tok-s", "uniform"});
  if (!source.empty()) throw UsageError("--outliers makes no plan: drop --" + source);
  require_names(arguments, "method", "planning method", plan_methods());
  const std::string scores = read_file(path), method = arguments.text_or("method", "");
  klens_outlier_options options{};
  options.size = sizeof(options);
  options.method = method.empty() ? nullptr : method.c_str();
  options.most = static_cast<int32_t>(arguments.count("most", 0, 0));
  const ordered_json report =
      ordered_json::parse(text_about(path, [&](char** text, klens_error* e) {
        return klens_outliers(scores.c_str(), &options, text, e);
      }));
  if (arguments.flag("json")) {
    print_json(report);
    return;
  }
  print(report_line("method", report.value("method", "")));
  print(report_line("by", report.value("metric", "")) + "\nLayers that stand out:\n\n");
  for (const ordered_json& module : report.at("modules")) print(outlier_lines(module));
}

void run_plan(const Arguments& arguments) {
  const std::string path = only_positional(arguments, "PROFILE");
  if (arguments.flag("outliers")) return list_outliers(arguments, path);
  if (arguments.given("most")) throw UsageError("--most goes with --outliers");
  const std::string source = arguments.one_of({"bpw", "size", "max-kl", "min-tok-s", "uniform"});
  if (source.empty())
    throw UsageError("there is no budget: give --bpw, --size, --max-kl, --min-tok-s or --uniform");
  const Budget budget(arguments, source);
  const bool json = arguments.flag("json");
  const auto output = arguments.text("output");
  if (output) check_output(*output, ".json", {path});
  const std::string profile = read_file(path);
  if (path.ends_with(".csv"))
    throw UsageError(
        path +
        " is a table of scores, which tells outliers (--outliers) but no plan: a plan needs what "
        "klens profile has written");
  const klens_plan_options options = budget.options();
  const std::string plan = text_about(path, [&](char** text, klens_error* e) {
    return klens_plan(profile.c_str(), &options, text, e);
  });
  if (output) write_file(*output, plan);
  const ordered_json parsed = ordered_json::parse(plan);
  if (json) {
    print_json(parsed);
    return;
  }
  print_plan_report(ordered_json::parse(profile), parsed);
  if (output) print("\n" + report_line("written", *output));
}

OptionGroup outlier_options() {
  const std::string methods =
      names_where(plan_methods(), " and ", [](const MethodRow& row) { return row.finds_outliers; });
  return {"Outliers",
          {{"outliers", "",
            "no plan, but the layers that " + methods +
                " give more bits (--method); PROFILE may also be a table of scores in CSV, whose "
                "first line names the columns: layer, module, and the score"},
           {"most", "M", "at most M layers of a module, those that stand out most (default all)"}}};
}

}  // namespace

Command plan_command() {
  OptionGroup output = general_options();
  output.options.insert(output.options.begin(), {"o,output", "FILE", "also write the plan there"});
  return {"plan",
          "PROFILE (--bpw B | --size S | --max-kl D | --min-tok-s T | --uniform FORMAT | "
          "--outliers) [options]",
          "choose a format for every matrix, from a profile",
          "Chooses one measured candidate per unit such that the summed KL is least within the "
          "budget: exactly, as a knapsack problem. Takes a moment and no model. The plan is what "
          "`klens quantize --plan` bakes, and may be edited by hand.",
          "  klens plan profile.json --bpw 4.5\n"
          "  klens plan profile.json --size 700M -o plan.json\n"
          "  klens plan profile.json --bpw 5 --tensor-type 'lm_head=int8' --json\n"
          "  klens plan profile.json --outliers\n"
          "  klens plan scores.csv --outliers --json\n",
          {{"Budget", budget_options()}, outlier_options(), output},
          run_plan};
}

}  // namespace klens::apps
