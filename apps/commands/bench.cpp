#include <nlohmann/json.hpp>

#include "apps/cli/command.h"
#include "apps/cli/common.h"
#include "apps/cli/error.h"
#include "apps/cli/output.h"
#include "apps/terminal/progress.h"

namespace klens::apps {
namespace {

using nlohmann::ordered_json;

// "pp512", "tg128@d0": a test of `count` tokens, or of none if that is 0, which the library calls
// negative.
int32_t tokens_or_none(int64_t count) { return count == 0 ? -1 : static_cast<int32_t>(count); }

std::string csv_field(const std::string& text) {
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? "\"\"" : std::string(1, c);
  return quoted + "\"";
}

void print_markdown(const std::string& model, const ordered_json& r) {
  const std::string isa = r.value("isa", ""), threads = number_or_dash(r, "threads", "%.0f");
  print(
      "| model | size | isa | threads | test | tok/s |\n| --- | ---: | --- | ---: | --- | ---: "
      "|\n");
  for (const ordered_json& test : r.at("tests")) {
    print("| " + model + " | " + human_bytes(r.value("weight_bytes", 0.0)) + " | " + isa + " | " +
          threads + " | " + test.value("name", "") + " | " +
          with_error(test, "tok_s", "stddev", "%.2f") + " |\n");
  }
  print("\nweights read at " + number_or_dash(r, "decode_gb_s", "%.2f") +
        " GB/s while decoding, of " + number_or_dash(r, "read_gb_s", "%.2f") +
        " GB/s that memory gives; first token after " +
        number_or_dash(r, "first_token_ms", "%.1f") + " ms\n");
}

void print_csv(const std::string& model, const ordered_json& r) {
  print("model,isa,threads,weight_bytes,read_gb_s,decode_gb_s,first_token_ms,test,tok_s,stddev\n");
  std::string common = csv_field(model) + "," + csv_field(r.value("isa", ""));
  for (const char* key : {"threads", "weight_bytes"})
    common += "," + number_or_dash(r, key, "%.0f");
  for (const char* key : {"read_gb_s", "decode_gb_s", "first_token_ms"})
    common += "," + number_or_dash(r, key, "%.4f");
  for (const ordered_json& test : r.at("tests")) {
    print(common + "," + csv_field(test.value("name", "")) + "," +
          number_or_dash(test, "tok_s", "%.4f") + "," + number_or_dash(test, "stddev", "%.4f") +
          "\n");
  }
}

// One object per test, each complete.
void print_json_lines(const std::string& model, ordered_json r) {
  const ordered_json tests = r.at("tests");
  r.erase("tests");
  for (const ordered_json& test : tests) {
    ordered_json line = {{"model", model}};
    line.update(r);
    line.update(test);
    print(line.dump(-1, ' ', false, ordered_json::error_handler_t::replace) + "\n");
  }
}

void run(const Arguments& arguments) {
  const std::string path = model_path(arguments);
  klens_bench_options options{};
  options.size = sizeof(options);
  options.prompt = tokens_or_none(arguments.count("n-prompt", 512, 0, 1 << 24));
  options.generate = tokens_or_none(arguments.count("n-gen", 128, 0, 1 << 24));
  options.depth = static_cast<int32_t>(arguments.count("n-depth", 0, 0, 1 << 24));
  options.repetitions = static_cast<int32_t>(arguments.count("repetitions", 5, 1, 1 << 20));
  if (options.prompt < 0 && options.generate < 0)
    throw UsageError("-p 0 and -n 0 leave nothing to do");
  std::string format = arguments.choice("output-format", {"md", "csv", "json", "jsonl"});
  if (arguments.flag("json")) format = "json";
  const bool quiet = arguments.flag("quiet");
  const ModelHandle model = open_model(arguments, path);
  ordered_json report;
  {
    Progress progress(quiet);
    options.progress = Progress::callback;
    options.user = &progress;
    report = report_of(
        [&](char** text, klens_error* e) { return klens_bench(model.get(), &options, text, e); });
  }
  if (format == "json") {
    print_json(report);
  } else if (format == "csv") {
    print_csv(path, report);
  } else if (format == "jsonl") {
    print_json_lines(path, report);
  } else {
    print_markdown(path, report);
  }
}

}  // namespace

Command bench_command() {
  OptionGroup output = general_options();
  output.options.insert(output.options.begin(),
                        {"o,output-format,output", "FORMAT", "md (default), csv, json or jsonl"});
  output.options.push_back(quiet_option());
  return {"bench",
          "MODEL [options]",
          "speed of prompt processing and of generation",
          "Times a prompt of -p tokens (pp) and the generation of -n tokens (tg), each -r times, "
          "and how fast the weights are read while generating, against what this machine's memory "
          "gives in the same run.",
          "  klens bench MODEL\n"
          "  klens bench MODEL -p 256 -n 64 -d 1024 -t 4 -o csv\n",
          {{"Tests",
            {{"p,n-prompt", "N", "tokens of the prompt; 0: not tested (default 512)"},
             {"n,n-gen", "N", "tokens generated; 0: not tested (default 128)"},
             {"d,n-depth", "N", "tokens in the session beforehand (default 0)"},
             {"r,repetitions", "N", "times each test is run (default 5)"}}},
           model_options(),
           output},
          run};
}

}  // namespace klens::apps
