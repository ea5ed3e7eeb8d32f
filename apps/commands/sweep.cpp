#include <unistd.h>

#include <nlohmann/json.hpp>

#include "apps/calibration.h"
#include "apps/cli/command.h"
#include "apps/cli/common.h"
#include "apps/cli/error.h"
#include "apps/cli/files.h"
#include "apps/cli/output.h"
#include "apps/cli/tables.h"
#include "apps/sweep_view.h"

namespace klens::apps {
namespace {

using nlohmann::ordered_json;

std::vector<int64_t> read_sizes(const Arguments& arguments) {
  std::vector<int64_t> budgets;
  const auto list = arguments.text("sizes");
  if (!list) return budgets;
  for (const std::string& word : words_of(*list)) {
    const auto value = parse_bytes(word);
    if (!value)
      throw UsageError("--sizes takes sizes such as 2.5M with commas, not '" + word + "'");
    budgets.push_back(*value);
  }
  return budgets;
}

// What a text is to be judged by, and how: holds what the library's options point into.
class Sweep {
 public:
  explicit Sweep(const Arguments& arguments)
      : bpw_(arguments.numbers("bpw", 0.01, 64)),
        sizes_(read_sizes(arguments)),
        methods_(arguments.text_or("methods", "")),
        profile_path_(arguments.text_or("profile", "")),
        points_(static_cast<int32_t>(arguments.count("points", 0, 1, 1000))),
        windows_(static_cast<int32_t>(arguments.count("test-windows", 0, 1))),
        generate_(static_cast<int32_t>(arguments.count("n-gen", 32, 0, 1 << 20))),
        repetitions_(static_cast<int32_t>(arguments.count("repetitions", 0, 1, 1 << 20))),
        packed_bytes_(arguments.bytes("packed").value_or(0)),
        refine_(arguments.flag("refine")),
        test_path_(arguments.text_or("test", "")) {
    require_names(arguments, "methods", "planning method", plan_methods());
    if (points_ != 0 && !(bpw_.empty() && sizes_.empty()))
      throw UsageError(
          "--points spreads budgets that nobody names: leave it out with --bpw and "
          "--sizes");
    if (!profile_path_.empty()) {
      profile_ = read_file(profile_path_);
      if (profile_.find('\0') != std::string::npos)
        throw Error(profile_path_ +
                    ": holds a byte that is zero, so it is no JSON; give what "
                    "klens profile has written");
    }
    if (test_path_.empty()) return;
    test_ = read_file(test_path_);
    if (test_.empty()) throw Error("the text " + test_path_ + " is empty; give one to judge by");
    test_name_ = test_path_ == "-" ? "standard input" : file_name(test_path_);
  }

  const std::string& profile_path() const { return profile_path_; }
  const std::string& test_path() const { return test_path_; }

  klens_sweep_options options() const {
    klens_sweep_options options{};
    options.size = sizeof(options);
    options.profile_json = profile_path_.empty() ? nullptr : profile_.c_str();
    options.methods = methods_.empty() ? nullptr : methods_.c_str();
    options.bpw = bpw_.data();
    options.bpw_count = bpw_.size();
    options.file_bytes = sizes_.data();
    options.file_bytes_count = sizes_.size();
    options.points = points_;
    options.text = test_path_.empty() ? nullptr : test_.data();
    options.text_bytes = test_.size();
    options.text_name = test_name_.c_str();
    options.windows = windows_;
    options.generate = generate_ == 0 ? -1 : generate_;
    options.repetitions = repetitions_;
    options.packed_bytes = packed_bytes_;
    options.refine = refine_ ? 1 : 0;
    return options;
  }

 private:
  std::vector<double> bpw_;
  std::vector<int64_t> sizes_;
  std::string methods_, profile_path_, profile_;
  int32_t points_, windows_, generate_, repetitions_;
  int64_t packed_bytes_;
  bool refine_;
  std::string test_path_, test_, test_name_;
};

void print_sweep_report(const ordered_json& sweep, const std::string& output) {
  const ordered_json &evaluation = sweep.at("evaluation"), &machine = sweep.at("machine");
  print(report_line("judged by", evaluation.value("text", "")));
  print(report_line("windows", number_or_dash(evaluation, "windows", "%.0f") + " of " +
                                   number_or_dash(evaluation, "window", "%.0f") + " tokens"));
  print(report_line("perplexity", number_or_dash(evaluation, "ppl", "%.4f") + " of the model"));
  print(report_line("machine", machine.value("isa", "") + ", " +
                                   number_or_dash(machine, "threads", "%.0f") + " threads"));
  print(report_line("written", output));
  print("\n" + sweep_table(sweep, output_style()));
}

// How a profile was measured is known once there is one.
void check_alone(const Arguments& arguments) {
  for (const char* name :
       {"ctx", "windows", "seed", "formats", "quantizer", "measured", "metrics", "save-profile"})
    if (arguments.given("profile") && arguments.given(name))
      throw UsageError(std::string("--profile is measured already: leave out --") + name);
}

void run_sweep(const Arguments& arguments) {
  const std::string path = model_path(arguments);
  const bool json = arguments.flag("json"), quiet = arguments.flag("quiet");
  const std::string output = arguments.text_or("output", ""),
                    profile_output = arguments.text_or("save-profile", "");
  if (output.empty() && !json) throw UsageError("-o FILE is missing");
  if (output.empty() && arguments.flag("resume"))
    throw UsageError("--resume needs -o FILE: the interrupted run's state lies beside it");
  check_alone(arguments);
  const std::string state = output.empty() ? "" : output + ".partial";
  const Sweep sweep(arguments);
  const Calibration calibration(arguments, state);
  const std::vector<std::string> inputs =
      input_files(arguments, {path, sweep.profile_path(), sweep.test_path()});
  if (!output.empty()) check_output(output, ".json", inputs);
  if (!profile_output.empty()) check_output(profile_output, ".json", inputs);
  const ModelHandle model = open_model(arguments, path);
  note_if_quantised(model.get(), path);
  warn_beyond_context(model.get(), calibration.ctx(), "windows", quiet);
  ordered_json report;
  try {
    Progress progress(quiet, "calibration text");
    klens_profile_options measuring = calibration.options(progress);
    // Some methods go by what is never predicted.
    if (!arguments.given("measured")) measuring.measured = -1;
    klens_sweep_options options = sweep.options();
    options.profile = &measuring;
    report = report_of(
        [&](char** text, klens_error* e) { return klens_sweep(model.get(), &options, text, e); });
  } catch (const Failure& failure) {
    // The library has the profile's text only: the file it came from is ours to name.
    if (std::string_view(failure.what()).starts_with("profile: ") && !sweep.profile_path().empty())
      throw Error(sweep.profile_path() + std::string(failure.what()).substr(7));
    calibration.rethrow(failure);
  }
  if (const auto profile = report.find("profile"); profile != report.end()) {
    if (!profile_output.empty()) write_file(profile_output, profile->dump(1) + "\n");
    report.erase("profile");
  }
  if (!output.empty()) {
    try {
      write_file(output, report.dump(1) + "\n");
    } catch (const Failure& failure) {
      rethrow_resumable(failure, state);
    }
    ::unlink(state.c_str());  // the whole sweep is safe now
  }
  if (json) {
    print_json(report);
  } else {
    print_sweep_report(report, output);
  }
}

OptionGroup frontier_options() {
  return {"Frontier",
          {{"profile", "FILE", "a profile of MODEL; else one is measured first"},
           {"save-profile", "FILE", "where the profile that is measured goes"},
           {"methods", "LIST",
            "with commas, of " +
                names_where(plan_methods(), ", ",
                            [](const MethodRow& row) { return !row.takes_format; }) +
                " (default: all)"},
           {"refine", "", "measure around klens's plans, as `klens quantize` does"},
           {"bpw", "LIST", "budgets in bits per weight, with commas"},
           {"sizes", "LIST", "budgets as sizes of the whole file, with commas"},
           {"points", "N",
            "where no budget is named, so many, evenly in bits per weight from the smallest plan "
            "to " +
                names_where(formats(), ", ", [](const FormatRow& row) { return row.base; }) +
                " (default 12)"}}};
}

OptionGroup judging_options() {
  return {"Judging",
          {{"test", "FILE",
            "text to judge plans by; none: windows of the calibration text that the profile did "
            "not use"},
           {"test-windows", "N", "windows of it, as long as the profile's (default 16)"},
           {"n,n-gen", "N", "tokens decoded to time a plan; 0: not timed (default 32)"},
           {"r,repetitions", "N", "times it is timed; the median counts (default 3)"},
           {"packed", "S",
            "memory for packed matrices that plans share (default 1G); what does not fit is packed "
            "again"}}};
}

}  // namespace

Command sweep_command() {
  OptionGroup output = general_options();
  output.options.insert(output.options.begin(), {"o,output", "FILE", "where sweep.json goes"});
  output.options.push_back(quiet_option());
  return {"sweep",
          "MODEL -o sweep.json [options]",
          "KL, perplexity, bytes and speed over budgets and methods",
          "Makes a plan for every budget and planning method, packs it in memory, and measures KL "
          "and perplexity on text that the plan was not made from, the bytes of the whole file, "
          "and decoding speed. Plans are those of `klens plan`; with --refine, klens's are then "
          "measured around, as `klens quantize` does. A plan that several points share is measured "
          "once. "
          "Without --profile all formats of a matrix are measured, since some methods go by "
          "metrics that are never predicted (--measured 2: as in `klens profile`). With a "
          "--profile that was made from a text, give that text with -f. Ctrl-C stops; --resume "
          "goes on. `klens report` draws the result.",
          "  klens sweep MODEL -o sweep.json -f book.txt --save-profile profile.json\n"
          "  klens sweep MODEL -o sweep.json --profile profile.json -f book.txt --test other.txt\n"
          "  klens sweep MODEL -o sweep.json --sizes 300M,500M,700M --resume\n",
          {frontier_options(), judging_options(), calibration_options(), model_options(), output},
          run_sweep};
}

}  // namespace klens::apps
