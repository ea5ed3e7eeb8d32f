#include <nlohmann/json.hpp>

#include "apps/cli/command.h"
#include "apps/cli/common.h"
#include "apps/cli/error.h"
#include "apps/cli/output.h"
#include "apps/text_job.h"

namespace klens::apps {
namespace {

using nlohmann::ordered_json;

struct Line {
  const char* label;
  const char* key;
  const char* error_key;  // "" where there is none
  const char* format;
  double scale = 1;  // 100 for percent
};

constexpr Line kPerplexity[] = {
    {"Mean PPL(B)", "ppl_b", "ppl_b_stderr", "%.4f"},
    {"Mean PPL(A)", "ppl_a", "ppl_a_stderr", "%.4f"},
    {"Cor(ln PPL(B), ln PPL(A))", "ppl_correlation", "", "%.2f %%", 100},
    {"Mean ln(PPL(B)/PPL(A))", "ln_ppl_ratio", "ln_ppl_ratio_stderr", "%.6f"},
    {"Mean PPL(B)/PPL(A)", "ppl_ratio", "ppl_ratio_stderr", "%.6f"},
    {"Mean PPL(B)-PPL(A)", "ppl_difference", "ppl_difference_stderr", "%.6f"},
};

constexpr Line kDivergence[] = {
    {"Mean KLD", "kl", "kl_stderr", "%.6f"}, {"Maximum KLD", "kl_max", "", "%.6f"},
    {"99.9% KLD", "kl_p999", "", "%.6f"},    {"99.0% KLD", "kl_p99", "", "%.6f"},
    {"95.0% KLD", "kl_p95", "", "%.6f"},     {"90.0% KLD", "kl_p90", "", "%.6f"},
    {"Median KLD", "kl_p50", "", "%.6f"},    {"10.0% KLD", "kl_p10", "", "%.6f"},
    {" 5.0% KLD", "kl_p5", "", "%.6f"},      {" 1.0% KLD", "kl_p1", "", "%.6f"},
    {"Minimum KLD", "kl_min", "", "%.6f"},
};

constexpr Line kProbability[] = {
    {"Mean dp", "delta_p_mean", "delta_p_mean_stderr", "%.3f %%", 100},
    {"Maximum dp", "delta_p_max", "", "%.3f %%", 100},
    {"99.9% dp", "delta_p_p999", "", "%.3f %%", 100},
    {"99.0% dp", "delta_p_p99", "", "%.3f %%", 100},
    {"95.0% dp", "delta_p_p95", "", "%.3f %%", 100},
    {"90.0% dp", "delta_p_p90", "", "%.3f %%", 100},
    {"75.0% dp", "delta_p_p75", "", "%.3f %%", 100},
    {"Median dp", "delta_p_p50", "", "%.3f %%", 100},
    {"25.0% dp", "delta_p_p25", "", "%.3f %%", 100},
    {"10.0% dp", "delta_p_p10", "", "%.3f %%", 100},
    {" 5.0% dp", "delta_p_p5", "", "%.3f %%", 100},
    {" 1.0% dp", "delta_p_p1", "", "%.3f %%", 100},
    {" 0.1% dp", "delta_p_p01", "", "%.3f %%", 100},
    {"Minimum dp", "delta_p_min", "", "%.3f %%", 100},
    {"RMS dp", "delta_p_rms", "delta_p_rms_stderr", "%.3f %%", 100},
    {"Same top p", "top1_agreement", "top1_agreement_stderr", "%.3f %%", 100},
};

template <size_t N>
void print_section(const char* title, const Line (&lines)[N], ordered_json report) {
  print(formatted("====== %s ======\n", title));
  for (const Line& line : lines) {
    if (!report.contains(line.key)) continue;
    for (const char* key : {line.key, line.error_key}) {
      if (report.contains(key) && report[key].is_number())
        report[key] = report[key].template get<double>() * line.scale;
    }
    print(formatted("%-26s: %s\n", line.label,
                    with_error(report, line.key, line.error_key, line.format).c_str()));
  }
}

void run_compare(const Arguments& arguments) {
  std::vector<std::string> models = arguments.positionals();
  const auto first = arguments.text("model");
  if (models.size() < 2 && first) models.insert(models.begin(), *first);
  if (models.size() < 2) throw UsageError("two models are needed: A and B");
  if (models.size() > 2) throw UsageError("what is '" + models[2] + "'? There are two models");
  const bool json = arguments.flag("json"), quiet = arguments.flag("quiet");
  const TextJob job(arguments);
  klens_model_options options_of_a = read_model_options(arguments);
  options_of_a.kv = KLENS_KV_DEFAULT;
  // What is compared with is exact.
  if (options_of_a.activations == KLENS_ACTIVATIONS_BF16)
    options_of_a.activations = KLENS_ACTIVATIONS_INT8;
  const ModelHandle a = open_model(arguments, models[0], options_of_a);
  const ModelHandle b = open_model(arguments, models[1]);
  for (const klens_model* model : {a.get(), b.get()})
    warn_beyond_context(model, job.ctx(), "windows", quiet);
  ordered_json report;
  {
    Progress progress(quiet, "tokenizing the text");
    const klens_text_options options = job.options(progress);
    report = report_of([&](char** text, klens_error* e) {
      return klens_compare(a.get(), b.get(), &options, text, e);
    });
  }
  if (json) {
    print_json(report);
    return;
  }
  print("A: " + models[0] + "\nB: " + models[1] + "\n");
  print(number_or_dash(report, "tokens", "%.0f") + " tokens in " +
        number_or_dash(report, "windows", "%.0f") + " windows, " +
        number_or_dash(report, "tok_s", "%.1f") + " tok/s\n\n");
  print_section("Perplexity statistics", kPerplexity, report);
  print("\n");
  print_section("KL divergence statistics (nats per token)", kDivergence, report);
  print("\n");
  print_section("Token probability statistics", kProbability, report);
}

}  // namespace

Command compare_command() {
  OptionGroup output = general_options();
  output.options.push_back(quiet_option());
  return {
      "compare",
      "A B -f FILE [options]",
      "how far model B is from model A on a text",
      "Runs both models side by side over the windows of a text and prints what llama.cpp's "
      "--kl-divergence prints: the perplexities and their ratio, the KL divergence of B from A "
      "per token, and how the probability of the right token changed (dp). A number after +/- is "
      "a standard error. Nothing is stored between the two runs. --kv is B's alone: a model "
      "compared with itself shows what its cache costs.",
      "  klens compare MODEL model.klens -f book.txt\n"
      "  klens compare MODEL model.klens -f book.txt --windows 20 --json\n"
      "  klens compare MODEL MODEL -f book.txt --kv int8\n",
      {text_options(), model_options(), output},
      run_compare};
}

}  // namespace klens::apps
