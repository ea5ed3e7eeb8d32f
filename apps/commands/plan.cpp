#include <nlohmann/json.hpp>

#include "apps/calibration.h"
#include "apps/cli/command.h"
#include "apps/cli/common.h"
#include "apps/cli/error.h"
#include "apps/cli/files.h"
#include "apps/cli/output.h"
#include "apps/plan_view.h"

namespace klens::apps {
namespace {

using nlohmann::ordered_json;

void print_report(const ordered_json& profile, const ordered_json& plan) {
  const Style style = output_style();
  const std::vector<UnitRow> rows = rows_of_plan(profile, plan);
  const std::string budget = plan.value("budget", "");
  print(report_line("method", plan.value("method", "")));
  if (!budget.empty()) print(report_line("budget", budget));
  print(report_line("weights", human_bytes(plan.value("bytes", 0.0)) + ", " +
                                   number_or_dash(plan, "bpw", "%.3f") + " bits per weight"));
  print(report_line("predicted KL",
                    number_or_dash(plan, "predicted_kl", "%.6f") + " nats per token"));
  print("\n" + unit_table(rows, SIZE_MAX, style));
  print("\n" + format_table(rows, style));
  print("\n" + block_map(format_cells(rows), style));
}

void run(const Arguments& arguments) {
  const std::string path = only_positional(arguments, "PROFILE");
  const std::string source = arguments.one_of({"bpw", "size", "max-kl", "uniform"});
  if (source.empty())
    throw UsageError("there is no budget: give --bpw, --size, --max-kl or --uniform");
  const Budget budget(arguments, source);
  const bool json = arguments.flag("json");
  const auto output = arguments.text("output");
  if (output) check_output(*output, ".json", {path});
  const std::string profile = read_file(path);
  const klens_plan_options options = budget.options();
  std::string plan;
  try {
    plan = text_of([&](char** text, klens_error* e) {
      return klens_plan(profile.c_str(), &options, text, e);
    });
  } catch (const Failure& failure) {
    // The library has the profile's text only: the file it came from is ours to name.
    const std::string what = failure.what();
    throw Error(path + (what.starts_with("profile: ") ? what.substr(7) : ": " + what));
  }
  if (output) write_file(*output, plan);
  const ordered_json parsed = ordered_json::parse(plan);
  if (json) {
    print_json(parsed);
    return;
  }
  print_report(ordered_json::parse(profile), parsed);
  if (output) print("\n" + report_line("written", *output));
}

}  // namespace

Command plan_command() {
  OptionGroup output = general_options();
  output.options.insert(output.options.begin(), {"o,output", "FILE", "also write the plan there"});
  return {"plan",
          "PROFILE (--bpw B | --size S | --max-kl D | --uniform FORMAT) [options]",
          "choose a format for every matrix, from a profile",
          "Chooses one measured candidate per unit such that the summed KL is least within the "
          "budget: exactly, as a knapsack problem. Takes a moment and no model. The plan is what "
          "`klens quantize --plan` bakes, and may be edited by hand.",
          "  klens plan profile.json --bpw 4.5\n"
          "  klens plan profile.json --size 700M -o plan.json\n"
          "  klens plan profile.json --bpw 5 --tensor-type 'lm_head=int8' --json\n",
          {{"Budget", budget_options()}, output},
          run};
}

}  // namespace klens::apps
