#include <nlohmann/json.hpp>
#include <string_view>

#include "apps/calibration.h"
#include "apps/cli/command.h"
#include "apps/cli/common.h"
#include "apps/cli/error.h"
#include "apps/cli/fields.h"
#include "apps/cli/files.h"
#include "apps/cli/output.h"
#include "apps/plan_view.h"

namespace klens::apps {
namespace {

using nlohmann::ordered_json;

constexpr size_t kMostTableRows = 48;  // a screen or two; `klens inspect` lists all

// What ending the profile early saved, and what it risks.
void print_race(const ordered_json& race) {
  if (!race.contains("seconds_saved")) return;
  const std::string windows =
      number_or_dash(race, "windows", "%.0f") + " of " + number_or_dash(race, "of", "%.0f");
  const std::string saved = human_seconds(number_at(race, "seconds_saved").value_or(0));
  print(formatted(
      "  %-12s %12s %12s   %.0f %% of the work; plans from half lose %.1f %% more; %s saved\n",
      "windows", "", windows.c_str(), 100 * number_at(race, "share").value_or(0),
      100 * number_at(race, "regret").value_or(0), saved.c_str()));
}

// How good predictions were that the plan chose by.
void print_checked(const ordered_json& checked) {
  print(formatted(
      "  %-12s %12s %12s   choices were predicted: measured %.2f to %.2f times that, median %.2f; "
      "the plan %s that is better\n",
      "checked", "", number_or_dash(checked, "choices", "%.0f").c_str(),
      number_at(checked, "least").value_or(0), number_at(checked, "most").value_or(0),
      number_at(checked, "median").value_or(0), checked.value("taken", true) ? "with" : "without"));
}

// Before and after, side by side.
void print_summary(const ordered_json& before, const ordered_json& report) {
  const auto line = [](const char* label, const std::string& was, const std::string& is,
                       const std::string& note) {
    const std::string gap = note.empty() ? "" : "   ";
    print(formatted("  %-12s %12s %12s", label, was.c_str(), is.c_str()) + gap + note + "\n");
  };
  const Style style = output_style();
  print(style.bold(formatted("  %-12s %12s %12s", "", "before", "after")) + "\n");
  const double size_before = number_at(before, "file_bytes").value_or(0),
               size_after = number_at(report, "bytes").value_or(0);
  line("size", human_bytes(size_before), human_bytes(size_after),
       size_after <= 0 || size_before <= 0 ? ""
       : size_after <= size_before ? formatted("%.2f times smaller", size_before / size_after)
                                   : formatted("%.2f times larger", size_after / size_before));
  line("bits/weight", number_or_dash(before, "bpw", "%.3f"), number_or_dash(report, "bpw", "%.3f"),
       "");
  const double ppl_before = number_at(report, "ppl_before").value_or(0),
               ppl_after = number_at(report, "ppl_after").value_or(0);
  const std::string evaluation = report.value("evaluation", "");
  if (report.contains("kl")) {
    line(
        "perplexity", number_or_dash(report, "ppl_before", "%.4f"),
        number_or_dash(report, "ppl_after", "%.4f"),
        (ppl_before > 0 && ppl_after > 0 ? formatted("%+.2f %%", 100 * (ppl_after / ppl_before - 1))
                                         : "") +
            (evaluation.empty() ? "" : " (" + evaluation + ")"));
    line("KL", "", number_or_dash(report, "kl", "%.6f"),
         "+/- " + number_or_dash(report, "kl_stderr", "%.6f") + " nats per token");
  }
  const bool any_kl = report.contains("kl") || report.contains("predicted_kl");
  if (const std::string formats = report.value("source_formats", ""); any_kl && !formats.empty())
    print("  MODEL is quantised already (" + formats + "): KL is from it, not from its original\n");
  if (report.contains("inputs_unknown"))
    print("  no text was given, so all columns counted alike: with -f FILE the model loses less\n");
  if (report.contains("predicted_kl"))
    line("KL predicted", "", number_or_dash(report, "predicted_kl", "%.6f"), "sum over the units");
  if (report.contains("measured_kl"))
    line("KL measured", "", number_or_dash(report, "measured_kl", "%.6f"),
         "whole plan, calibration windows");
  if (report.contains("race")) print_race(report.at("race"));
  if (report.contains("checked")) print_checked(report.at("checked"));
  const ordered_json& plan = report.at("plan");
  if (plan.contains("predicted_tok_s"))
    line("tok/s", "", number_or_dash(plan, "predicted_tok_s", "%.1f"), "decoding, predicted");
  if (report.contains("measured_tok_s"))
    line("tok/s", "", number_or_dash(report, "measured_tok_s", "%.1f"), "decoding, measured");
}

void print_quantize_report(const ordered_json& before, const ordered_json& report,
                           const std::string& output) {
  const Style style = output_style();
  const std::vector<UnitRow> rows = rows_of_report(report.at("units"));
  print(unit_table(rows, kMostTableRows, style));
  print("\n" + format_table(rows, style));
  print("\n" + block_map(format_cells(rows), style) + "\n");
  print_summary(before, report);
  print("\n" + report_line("time", human_seconds(number_at(report, "seconds").value_or(0))));
  print(report_line("written", output.empty() ? "nothing (dry run)" : output));
}

void run_quantize(const Arguments& arguments) {
  const std::string path = model_path(arguments);
  const std::string source =
      arguments.one_of({"bpw", "size", "max-kl", "min-tok-s", "uniform", "plan", "keep"});
  const bool dry_run = arguments.flag("dry-run"), json = arguments.flag("json");
  const bool quiet = arguments.flag("quiet");
  if (source.empty())
    throw UsageError(
        "there is no aim: give --bpw, --size, --max-kl, --min-tok-s, --uniform, --plan "
        "or --keep");
  std::string output = arguments.text_or("output", "");
  if (output.empty() && !dry_run) throw UsageError("-o OUT.klens is missing");
  const Budget budget(arguments, source);
  const std::string plan = source == "plan" ? read_file(*arguments.text("plan")) : "";
  if (plan.find('\0') != std::string::npos)
    throw Error(*arguments.text("plan") +
                ": holds a byte that is zero, so it is no JSON; give what "
                "klens plan has written");
  const Calibration calibration(arguments, dry_run ? "" : output + ".partial");
  if (!dry_run)
    check_output(output, ".klens", input_files(arguments, {path, arguments.text_or("plan", "")}),
                 false);

  const ModelHandle model = open_model(arguments, path);
  // A ready plan and --uniform are measured at the end alone, --keep where it changes something.
  const bool no_measure = arguments.flag("no-measure"), keep = source == "keep";
  if (!keep && (!no_measure || (source != "plan" && source != "uniform"))) {
    note_if_quantised(model.get(), path);
    warn_beyond_context(model.get(), calibration.ctx(), "calibration windows", quiet);
  }
  klens_quantize_options options{};
  options.size = sizeof(options);
  const klens_plan_options aim = budget.options();
  options.plan = &aim;
  options.plan_json = source == "plan" ? plan.c_str() : nullptr;
  options.dry_run = dry_run ? 1 : 0;
  options.no_measure = no_measure ? 1 : 0;
  options.keep = keep ? 1 : 0;
  ordered_json report, before;
  try {
    Progress progress(quiet, "calibration text");
    const klens_profile_options measuring = calibration.options(progress);
    options.profile = &measuring;
    report = report_of([&](char** text, klens_error* e) {
      return klens_quantize(model.get(), dry_run ? nullptr : output.c_str(), &options, text, e);
    });
    before = report_of(
        [&](char** text, klens_error* e) { return klens_inspect(path.c_str(), 0, text, e); });
  } catch (const Failure& failure) {
    // The library has the plan's text only: the file it came from is ours to name.
    if (source == "plan" && std::string_view(failure.what()).starts_with("plan: "))
      throw Error(*arguments.text("plan") + std::string(failure.what()).substr(4));
    calibration.rethrow(failure);
  }
  if (dry_run) output.clear();
  if (json) {
    print_json(report);
  } else {
    print_quantize_report(before, report, output);
  }
}

}  // namespace

Command quantize_command() {
  OptionGroup aim{"Aim (one of the first seven)", budget_options()};
  aim.options.insert(
      aim.options.begin() + 4,
      {{"plan", "FILE", "the plan of `klens plan`, as it is"},
       {"keep", "", "the integers that MODEL holds already, as they are; the rest in FP16"}});
  OptionGroup measuring = calibration_options();
  OptionGroup output = general_options();
  output.options.insert(output.options.begin(),
                        {{"o,output", "OUT.klens", "the model file to write"},
                         {"no-measure", "", "do not measure the finished plan"},
                         {"dry-run", "", "show size and plan, write nothing"}});
  output.options.push_back(quiet_option());
  return {
      "quantize",
      "MODEL -o OUT.klens (--bpw B | --size S | ...) [options]",
      "write a smaller model: measures, plans and bakes in one command",
      "With --bpw, --size or --max-kl: measures every matrix in every candidate format on "
      "calibration text, chooses the plan with the least KL within the budget, measures the "
      "whole plan, and writes one self-contained .klens file. --plan, --uniform and --keep skip "
      "the measuring; without -f nothing is then seen of what matrices are multiplied by, and they "
      "lose more. The file appears whole or not at all. Ctrl-C stops; --resume goes on.",
      "  klens quantize MODEL -o model.klens --bpw 4.5\n"
      "  klens quantize MODEL -o model.klens --size 700M -f book.txt\n"
      "  klens quantize MODEL -o model.klens --uniform int8\n"
      "  klens quantize model.Q4_0.gguf -o model.klens --keep\n"
      "  klens quantize MODEL -o model.klens --plan plan.json --tensor-type 'lm_head=fp16'\n",
      {aim, measuring, model_options(), output},
      run_quantize};
}

}  // namespace klens::apps
