#include <nlohmann/json.hpp>

#include "apps/cli/command.h"
#include "apps/cli/common.h"
#include "apps/cli/error.h"
#include "apps/cli/output.h"
#include "apps/text_job.h"

namespace klens::apps {
namespace {

using nlohmann::ordered_json;

void print_perplexity_report(const ordered_json& r) {
  print(report_line("perplexity", with_error(r, "ppl", "ppl_stderr", "%.4f")));
  print(report_line("nats per token", number_or_dash(r, "nll", "%.5f")));
  print(report_line("word perplexity", number_or_dash(r, "word_ppl", "%.4f")));
  print(report_line("bits per byte", number_or_dash(r, "bits_per_byte", "%.4f")));
  print(report_line("tokens scored", number_or_dash(r, "tokens", "%.0f") + " in " +
                                         number_or_dash(r, "windows", "%.0f") + " windows"));
  print(report_line("speed", number_or_dash(r, "tok_s", "%.1f") + " tok/s"));
}

void run_perplexity(const Arguments& arguments) {
  const std::string path = model_path(arguments);
  const auto stride = static_cast<int32_t>(arguments.count("stride", 0, 0));
  const bool llama = arguments.choice("protocol", {"klens", "llama"}) == "llama";
  const bool json = arguments.flag("json"), quiet = arguments.flag("quiet");
  const TextJob job(arguments);
  if (stride > arguments.count("ctx", 512, 2))
    throw UsageError("--stride is at most the window length (-c)");
  if (llama && stride > 0) throw UsageError("--protocol llama has no --stride");
  const ModelHandle model = open_model(arguments, path);
  warn_beyond_context(model.get(), job.ctx(), "windows", quiet);
  ordered_json report;
  {
    Progress progress(quiet, "tokenizing the text");
    klens_text_options options = job.options(progress);
    options.stride = stride;
    options.llama_protocol = llama ? 1 : 0;
    report = report_of([&](char** text, klens_error* e) {
      return klens_perplexity(model.get(), &options, text, e);
    });
  }
  if (json) {
    print_json(report);
  } else {
    print_perplexity_report(report);
  }
}

}  // namespace

Command perplexity_command() {
  OptionGroup text = text_options();
  text.options.push_back({"stride", "N",
                          "tokens from one window's start to the next; what overlaps "
                          "is context only (default: no overlap)"});
  text.options.push_back({"protocol", "NAME",
                          "klens (default), or llama: BOS first, and only the "
                          "second half of each whole window scored"});
  OptionGroup output = general_options();
  output.options.push_back(quiet_option());
  return {"perplexity",
          "MODEL -f FILE [options]",
          "how well a model predicts a text",
          "Cuts the text into windows of -c tokens, each from a fresh start, and scores every next "
          "token in them, the last and shorter window too.",
          "  klens perplexity MODEL -f book.txt\n"
          "  klens perplexity MODEL -f book.txt -c 1024 --stride 512 --json\n",
          {text, model_options(), output},
          run_perplexity};
}

}  // namespace klens::apps
