#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

#include "apps/calibration.h"
#include "apps/cli/command.h"
#include "apps/cli/common.h"
#include "apps/cli/error.h"
#include "apps/cli/files.h"
#include "apps/cli/output.h"
#include "apps/cli/tables.h"
#include "apps/plan_view.h"
#include "apps/ranks/team.h"

namespace klens::apps {
namespace {

using nlohmann::ordered_json;

// The candidate with the fewest bytes that was measured.
const ordered_json* coarsest(const ordered_json& unit) {
  const ordered_json* found = nullptr;
  for (const ordered_json& candidate : unit.at("candidates")) {
    const auto kl = candidate.find(metrics().front().name);
    if (kl == candidate.end() || !kl->is_number()) continue;
    if (found == nullptr || candidate.at("bytes") < found->at("bytes")) found = &candidate;
  }
  return found;
}

// Greens to red by the power of ten of the share of the worst.
int heat(double kl, double worst) {
  if (!(kl > 0) || !(worst > 0)) return 115;
  const double decades = std::log10(worst / kl);
  if (decades < 0.5) return 210;
  if (decades < 1) return 216;
  if (decades < 1.5) return 222;
  if (decades < 2) return 193;
  return decades < 3 ? 157 : 115;
}

std::vector<MapCell> sensitivity_cells(const ordered_json& profile) {
  std::vector<MapCell> cells;
  std::vector<double> values;
  double worst = 0;
  for (const ordered_json& unit : profile.at("units")) {
    const ordered_json* candidate = coarsest(unit);
    if (candidate == nullptr) continue;
    const auto kl = candidate->at(metrics().front().name).get<double>();
    const int64_t layer = layer_of(unit);
    const auto kind = unit.at("kind").get<std::string>();
    worst = std::max(worst, kl);
    // Parts of a fused matrix, or experts, share a place: their sum is shown.
    const auto same = std::find_if(cells.begin(), cells.end(), [&](const MapCell& cell) {
      return cell.layer == layer && cell.kind == kind;
    });
    const auto at = static_cast<size_t>(same - cells.begin());
    if (same == cells.end()) {
      cells.push_back({kind, layer, "", 0});
      values.push_back(0);
    }
    values[at] += kl;
  }
  for (size_t i = 0; i < cells.size(); ++i) {
    cells[i].text = formatted("%.5f", values[i]);
    cells[i].background = heat(values[i], worst);
  }
  return cells;
}

// "0.84 (0.78, 0.88)"
std::string tau_text(const ordered_json& agreement) {
  std::string text = number_or_dash(agreement, "tau", "%.3f");
  if (agreement.at("low").is_number())
    text += formatted(" (%.3f, %.3f)", agreement.at("low").get<double>(),
                      agreement.at("high").get<double>());
  return text;
}

void print_validation(const ordered_json& validation) {
  print("\nHow metrics rank units, against what each does alone to " +
        validation.value("source", "") + "\n(" + number_or_dash(validation, "windows", "%.0f") +
        " windows, perplexity " + number_or_dash(validation, "perplexity", "%.3f") +
        "): Kendall's tau-b, and 95 % of " + number_or_dash(validation, "draws", "%.0f") +
        " draws\nof the windows\n");
  std::string group;
  for (const ordered_json& row : validation.at("agreement")) {
    const std::string title = row.at("format").get<std::string>() +
                              (row.at("with_head").get<bool>() ? ", the head too" : ", no head");
    if (title != group) {
      print("\n" + output_style().bold("  " + title) + "\n");
      print(formatted("  %-14s %5s  %-24s %s\n", "metric", "units", "perplexity", "KL"));
      group = title;
    }
    print(formatted("  %-14s %5d  %-24s %s\n", row.at("metric").get<std::string>().c_str(),
                    row.at("units").get<int>(), tau_text(row.at("with_perplexity")).c_str(),
                    tau_text(row.at("with_kl")).c_str()));
  }
}

void print_profile_report(const ordered_json& profile, const std::string& output) {
  const ordered_json& calibration = profile.at("calibration");
  print(report_line("units", std::to_string(profile.at("units").size())));
  print(report_line("calibration", calibration.value("source", "") + ", " +
                                       number_or_dash(calibration, "windows", "%.0f") +
                                       " windows of " +
                                       number_or_dash(calibration, "window", "%.0f") + " tokens"));
  print(report_line("written", output));
  const std::vector<MapCell> cells = sensitivity_cells(profile);
  if (!cells.empty()) {  // --metrics without kl
    print("\nKL, in nats per token, of each unit alone in its smallest format:\n\n");
    print(block_map(cells, output_style()));
  }
  if (profile.contains("validation")) print_validation(profile.at("validation"));
}

// What is measured, and where the result goes.
struct Job {
  explicit Job(const Arguments& arguments)
      : path(model_path(arguments)),
        output(arguments.text_or("output", "")),
        state(output.empty() ? "" : output + ".partial"),
        json(arguments.flag("json")),
        quiet(arguments.flag("quiet")),
        judge(arguments.text_or("validate", "")) {
    if (output.empty() && !json) throw UsageError("-o FILE is missing");
    if (output.empty() && arguments.flag("resume"))
      throw UsageError("--resume needs -o FILE: the interrupted run's state lies beside it");
  }

  std::string path, output, state;
  bool json, quiet;
  std::string judge;
};

// profile.json. The same on all ranks, and fails on all.
std::string measure(const Arguments& arguments, const Job& job, const RankTeam& team) {
  std::optional<Calibration> calibration;
  std::string judge_text;
  ModelHandle model;
  klens_model_options options = read_model_options(arguments);
  if (options.threads == 0) options.threads = team.threads(job.quiet);
  team.together([&] {
    calibration.emplace(arguments, team.first() ? job.state : "");
    if (team.first() && !job.output.empty())
      check_output(job.output, ".json", input_files(arguments, {job.path, job.judge}));
    if (!job.judge.empty()) judge_text = read_file(job.judge);
    model = open_model(arguments, job.path, options);
  });
  if (team.first()) {
    note_if_quantised(model.get(), job.path);
    warn_beyond_context(model.get(), calibration->ctx(), "calibration windows", job.quiet);
  }
  const std::string judge_name = text_name(job.judge);
  try {
    Progress progress(job.quiet || !team.first(), "calibration text");
    klens_profile_options measuring = calibration->options(progress);
    measuring.ranks = team.ranks();
    measuring.times = arguments.flag("times") ? 1 : 0;
    if (!job.judge.empty()) {
      measuring.validation_text = judge_text.data();
      measuring.validation_bytes = judge_text.size();
      measuring.validation_name = judge_name.c_str();
    }
    return text_of(
        [&](char** out, klens_error* e) { return klens_profile(model.get(), &measuring, out, e); });
  } catch (const Failure& failure) {
    if (!team.first()) throw ToldByFirst();
    calibration->rethrow(failure);
  }
}

void run_profile(const Arguments& arguments) {
  const Job job(arguments);
  const RankTeam team;
  const std::vector<std::string> files = input_files(arguments, {});
  if (!team.alone() && std::ranges::count(files, "-") > 0)
    throw UsageError("-f - is standard input, which one of several processes has: give a file");
  if (!team.alone() && arguments.flag("times"))
    throw UsageError(
        "--times times one process that has the machine: leave out mpirun, or --times");
  const std::string text = measure(arguments, job, team);
  if (!team.first()) return;
  if (!job.output.empty()) {
    try {
      write_file(job.output, text);
    } catch (const Failure& failure) {
      rethrow_resumable(failure, job.state);
    }
    ::unlink(job.state.c_str());  // the whole profile is safe now
  }
  const ordered_json profile = ordered_json::parse(text);
  if (job.json) {
    print_json(profile);
  } else {
    print_profile_report(profile, job.output);
  }
}

}  // namespace

Command profile_command() {
  OptionGroup output = general_options();
  output.options.insert(output.options.begin(), {"o,output", "FILE", "where profile.json goes"});
  output.options.push_back(quiet_option());
  OptionGroup measuring = calibration_options();
  measuring.options.push_back(
      {"times", "",
       "also time every format on this machine, for plans by speed (klens plan --min-tok-s)"});
  const OptionGroup judging{
      "Judging",
      {{"validate", "FILE",
        "other text, whose first windows, as many and as long, are measured too: how well each "
        "metric's order of units agrees with what they do to its perplexity and KL, one format at "
        "a time, with intervals; use with --formats and --measured all"}}};
  return {"profile",
          "MODEL -o profile.json [options]",
          "measure how much each weight matrix suffers in each format",
          "Runs the model with one matrix at a time in one format at a time and measures how far "
          "its predictions move: KL divergence in nats per token, and other metrics. Ctrl-C stops; "
          "--resume goes on. `klens plan` turns the profile into a plan for any budget without "
          "measuring again. `mpirun -n 4 --bind-to none klens profile ...` shares the work out to "
          "processes, on as many machines as mpirun is told, and gives the same file.",
          "  klens profile MODEL -o profile.json\n"
          "  klens profile MODEL -o profile.json -f book.txt --windows 64\n"
          "  klens profile MODEL -o profile.json --resume\n"
          "  klens profile MODEL -o profile.json --times\n"
          "  klens profile MODEL -o profile.json --measured all --validate other.txt\n",
          {measuring, judging, model_options(), output},
          run_profile,
          true};
}

}  // namespace klens::apps
