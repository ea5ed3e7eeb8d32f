#include "apps/calibration.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <unistd.h>

#include <cstdio>
#include <filesystem>

#include "apps/cli/error.h"
#include "apps/cli/files.h"
#include "apps/cli/tables.h"

namespace klens::apps {
namespace {

const char* or_null(const std::string& text) { return text.empty() ? nullptr : text.c_str(); }

std::string formats_help() {
  return "candidate formats, with commas (default " +
         names_where(formats(), ", ", [](const FormatRow& row) { return row.candidate; }) +
         ", and smaller ones where a budget asks for them); " +
         names_where(formats(), ", ", [](const FormatRow& row) { return row.base; }) +
         " always is one";
}

// One to a line, but those that take no budget, which have an option of their own.
std::string methods_help() {
  std::string help = "how to choose (default " + plan_methods().front().name + ")";
  for (const MethodRow& row : plan_methods())
    if (!row.takes_format) help += "\n" + row.name + ": " + row.about;
  return help;
}

// "how weights become integers: rtn (round to nearest) or search (..., the default)"
std::string quantizers_help() {
  std::string help = "how weights become integers: ";
  for (const QuantizerRow& row : quantizers())
    help += (&row == &quantizers().front() ? "" : "; ") + row.name + ", " + row.about +
            (row.usual ? " (default)" : "");
  return help;
}

// What is freed goes back to the system: else glibc keeps, of matrices that come and go, some
// hundred MiB beyond what is held. It costs a tenth of the time of small models.
void keep_little() {
#ifdef __GLIBC__
  ::mallopt(M_MMAP_THRESHOLD, 128 << 10);
#endif
}

// One for each text, or none.
std::vector<double> weights_of(const Arguments& arguments) {
  const std::vector<double> weights = arguments.numbers("weights", 1e-6, 1e6);
  const size_t files = arguments.texts("file").size();
  if (!weights.empty() && weights.size() != files)
    throw UsageError("--weights has " + std::to_string(weights.size()) + " numbers for " +
                     std::to_string(files) + " texts (-f)");
  return weights;
}

}  // namespace

std::string text_name(const std::string& path) {
  return path == "-" ? "standard input" : std::filesystem::path(path).filename().string();
}

std::vector<std::string> input_files(const Arguments& arguments, std::vector<std::string> others) {
  for (const std::string& file : arguments.texts("file")) others.push_back(file);
  return others;
}

OptionGroup calibration_options() {
  return {
      "Measuring",
      {{"f,file", "FILE",
        "calibration text (- reads standard input); may be given again; none: sampled from the "
        "model itself, which needs no data"},
       {"weights", "LIST",
        "how many windows come from each of several texts, in proportion, such as 3,1 (default: "
        "alike)"},
       {"c,ctx,ctx-size", "N", "tokens of a calibration window (default 256)"},
       {"windows", "N",
        "calibration windows, the first N of the text (default 32); quantizers see others, behind "
        "them"},
       {"s,seed", "N", "of sampled text (default 0)"},
       {"formats", "LIST", formats_help()},
       {"quantizer", "NAME", quantizers_help()},
       {"measured", "N",
        "formats of a matrix whose KL is measured; that of others is predicted by what its own "
        "outputs lose, and so is always that of activations of 16 bits (default 2; all: no limit)"},
       {"suffix", "NAME",
        "what the model computes in but for the matrix that is measured: exact, as it is (default "
        "of profile and sweep); fast, in INT8 with activations of 16 bits, in half the time "
        "(default of quantize)"},
       {"memory", "SIZE",
        "what measuring may hold beside the model's file, such as 2G: less is slower, and too "
        "little is refused (default: what it needs, and 1G for what saves time)"},
       {"metrics", "LIST", "of " + names_of(metrics()) + " (default: all)"},
       {"resume", "", "go on with an interrupted run of the same options"}}};
}

Calibration::Calibration(const Arguments& arguments, std::string state_path)
    : formats_(arguments.text_or("formats", "")),
      quantizer_(arguments.text_or("quantizer", "")),
      metrics_(arguments.text_or("metrics", "")),
      suffix_(arguments.given("suffix") ? arguments.choice("suffix", {"exact", "fast"}) : ""),
      state_path_(std::move(state_path)),
      resume_(arguments.flag("resume")),
      ctx_(static_cast<int32_t>(arguments.count("ctx", 0, 2))),
      windows_(static_cast<int32_t>(arguments.count("windows", 0, 1))),
      measured_(arguments.text_or("measured", "") == "all"
                    ? -1
                    : static_cast<int32_t>(arguments.count("measured", 0, 1))),
      seed_(arguments.seed()),
      memory_(arguments.bytes("memory").value_or(0)) {
  require_names(arguments, "formats", "format", formats());
  require_names(arguments, "quantizer", "quantizer", quantizers());
  require_names(arguments, "metrics", "metric", metrics());
  if (memory_ != 0) keep_little();
  const std::vector<double> weights = weights_of(arguments);
  for (const std::string& file : arguments.texts("file")) {
    Text text{read_file(file), text_name(file)};
    if (text.text.empty())
      throw Error("the calibration text " + (file == "-" ? text.name : file) +
                  " is empty; give another, or leave it out: then the model writes its own");
    if (!weights.empty()) text.weight = weights[texts_.size()];
    texts_.push_back(std::move(text));
  }
  for (size_t i = 1; i < texts_.size(); ++i)
    more_.push_back(
        {texts_[i].text.data(), texts_[i].text.size(), texts_[i].name.c_str(), texts_[i].weight});
}

klens_profile_options Calibration::options(Progress& progress) const {
  klens_profile_options options{};
  options.size = sizeof(options);
  if (!texts_.empty()) {
    options.text = texts_.front().text.data();
    options.text_bytes = texts_.front().text.size();
    options.source_name = texts_.front().name.c_str();
    options.text_weight = texts_.front().weight;
    options.more_texts = more_.data();
    options.more_count = more_.size();
  }
  options.ctx = ctx_;
  options.windows = windows_;
  options.seed = seed_;
  options.formats = or_null(formats_);
  options.quantizer = or_null(quantizer_);
  options.metrics = or_null(metrics_);
  options.suffix = or_null(suffix_);
  options.state_path = or_null(state_path_);
  options.resume = resume_ ? 1 : 0;
  options.measured = measured_;
  options.memory = memory_;
  options.progress = Progress::callback;
  options.user = &progress;
  return options;
}

void rethrow_resumable(const Failure& failure, const std::string& state_path) {
  const bool kept = !state_path.empty() && ::access(state_path.c_str(), F_OK) == 0;
  const std::string resume = "the same command with --resume goes on from " + state_path;
  if (failure.status == KLENS_INTERRUPTED)
    throw Error(kept ? "interrupted; " + resume : "interrupted before anything was worth keeping");
  // What has to do with the machine and not with what was asked for.
  if (kept && (failure.status == KLENS_IO || failure.status == KLENS_NO_MEMORY))
    throw Error(std::string(failure.what()) + "; " + resume);
  throw failure;
}

void Calibration::rethrow(const Failure& failure) const { rethrow_resumable(failure, state_path_); }

void note_if_quantised(const klens_model* model, const std::string& path) {
  const std::string formats = klens_model_quantised(model);
  if (formats.empty()) return;
  std::fprintf(stderr,
               "klens: note: %s is quantised already (%s): all that is measured compares with it, "
               "not with the model that it was made from\n",
               path.c_str(), formats.c_str());
}

std::vector<OptionSpec> budget_options() {
  return {{"bpw", "B", "at most B bits per weight over all weight matrices, e.g. 4.5"},
          {"size", "S",
           "the whole file at most S bytes; K, M, G are powers of 1024, KB, MB, GB of "
           "1000; e.g. 2.5M"},
          {"max-kl", "D", "the smallest file with a predicted KL of at most D nats per token"},
          {"min-tok-s", "T",
           "the least KL that decodes at least T tokens per second on this machine, with these "
           "threads"},
          {"uniform", "FORMAT", method_of_one_format().about + ": " + names_of(formats())},
          {"method", "NAME", methods_help()},
          {"tensor-type", "REGEX=FORMAT",
           "units whose name matches get this format, whatever the "
           "plan says; may be given again; FORMAT@16 has activations of 16 bits"}};
}

Budget::Budget(const Arguments& arguments, const std::string& source)
    : method_(arguments.text_or("method", "")) {
  require_names(arguments, "method", "planning method", plan_methods());
  if (source == "bpw") bpw_ = arguments.number("bpw", 0, 0.01, 64);
  if (source == "size") file_bytes_ = *arguments.bytes("size");
  if (source == "max-kl") max_kl_ = arguments.number("max-kl", 0, 1e-12, 1000);
  if (source == "min-tok-s") min_tok_s_ = arguments.number("min-tok-s", 0, 1e-6, 1e9);
  if (source == "uniform") {
    uniform_ = *arguments.text("uniform");
    require_format(uniform_, "uniform");
    const std::string& method = method_of_one_format().name;
    if (!method_.empty() && method_ != method)
      throw UsageError("--uniform and --method " + method_ + " exclude each other");
    method_ = method;
  } else if (method_ == method_of_one_format().name) {
    throw UsageError("--method " + method_ + " needs --uniform FORMAT");
  }
  for (const std::string& rule : arguments.texts("tensor-type")) {
    if (rule.find('=') == std::string::npos)
      throw UsageError("--tensor-type takes REGEX=FORMAT, not '" + rule + "'");
    require_format(rule.substr(rule.rfind('=') + 1), "tensor-type");
    tensor_types_ += rule + "\n";
  }
}

klens_plan_options Budget::options() const {
  klens_plan_options options{};
  options.size = sizeof(options);
  options.method = or_null(method_);
  options.bpw = bpw_;
  options.file_bytes = file_bytes_;
  options.max_kl = max_kl_;
  options.min_tok_s = min_tok_s_;
  options.uniform_format = or_null(uniform_);
  options.tensor_types = or_null(tensor_types_);
  return options;
}

}  // namespace klens::apps
