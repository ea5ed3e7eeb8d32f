#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "apps/bench_sweep.h"
#include "apps/cli/command.h"
#include "apps/cli/common.h"
#include "apps/cli/error.h"
#include "apps/cli/files.h"
#include "apps/cli/output.h"

namespace klens::apps {
namespace {

using nlohmann::ordered_json;

// "pp512", "tg128@d0": a test of `count` tokens, or of none if that is 0, which the library calls
// negative.
int32_t tokens_or_none(int64_t count) { return count == 0 ? -1 : static_cast<int32_t>(count); }

// What a device's own events tell of each kernel.
void print_kernels(const ordered_json& test) {
  print("\n| kernel of " + test.value("name", "") +
        " | launches | ms | % |\n| --- | ---: | ---: | ---: |\n");
  for (const ordered_json& kernel : test.at("kernels")) {
    char share[32];
    std::snprintf(share, sizeof(share), "%.1f", 100 * kernel.value("share", 0.0));
    print("| " + kernel.value("kernel", "") + " | " + number_or_dash(kernel, "launches", "%.0f") +
          " | " + number_or_dash(kernel, "ms", "%.2f") + " | " + share + " |\n");
  }
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
  print("\n" + report_line("first token", number_or_dash(r, "first_token_ms", "%.1f") + " ms"));
  print(report_line("prefill", number_or_dash(r, "prefill_gop_s", "%.0f") + " GOP/s of " +
                                   number_or_dash(r, "integer_gop_s", "%.0f") +
                                   " that 8-bit multiply-adds reach in registers"));
  print(report_line("decode", number_or_dash(r, "decode_gb_s", "%.2f") + " GB/s of weights of " +
                                  number_or_dash(r, "read_gb_s", "%.2f") + " that memory gives" +
                                  (r.value("decode_gb_s", 0.0) > r.value("read_gb_s", 0.0)
                                       ? ": they lie in the CPU's cache"
                                       : "")));
  print(report_line("state", human_bytes(r.value("state_bytes", 0.0)) +
                                 " that each token reads of its sequence, beside keys and values"));
  for (const ordered_json& test : r.at("tests")) {
    std::string shares;
    for (const auto& [step, share] : test.at("shares").items())
      shares += (shares.empty() ? "" : ", ") + step + " " +
                std::to_string(std::lround(100 * share.get<double>()));
    print(report_line("% of " + test.value("name", ""), shares));
  }
  for (const ordered_json& test : r.at("tests"))
    if (test.contains("kernels")) print_kernels(test);
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

void print_bench_report(const std::string& format, const std::string& path,
                        const ordered_json& report) {
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

void print_sweep(const std::string& format, const ordered_json& sweep) {
  if (format == "json") {
    print_json(sweep);
  } else if (format == "jsonl") {
    for (const ordered_json& model : sweep["models"])
      for (const ordered_json& point : model["points"]) print_json_lines(model["model"], point);
  } else {
    print(format == "csv" ? sweep_csv(sweep) : sweep_markdown(sweep));
  }
}

klens_bench_options read_options(const Arguments& arguments, bool sweeps) {
  klens_bench_options options{};
  options.size = sizeof(options);
  options.prompt = tokens_or_none(arguments.count("n-prompt", 512, 0, 1 << 24));
  options.generate = tokens_or_none(arguments.count("n-gen", sweeps ? 32 : 128, 0, 1 << 24));
  options.depth = static_cast<int32_t>(arguments.count("n-depth", 0, 0, 1 << 24));
  options.batch = static_cast<int32_t>(arguments.count("parallel", 1, 1, 4096));
  options.repetitions =
      static_cast<int32_t>(arguments.count("repetitions", sweeps ? 3 : 5, 1, 1 << 20));
  if (options.prompt < 0 && options.generate < 0)
    throw UsageError("-p 0 and -n 0 leave nothing to do");
  return options;
}

void run_bench(const Arguments& arguments) {
  const std::string kind =
      arguments.choice("sweep", {"none", "batch", "length", "threads", "size"});
  const bool sweeps = kind != "none";
  const klens_bench_options options = read_options(arguments, sweeps);
  std::string format = arguments.choice("output-format", {"md", "csv", "json", "jsonl"});
  if (format != "json" && arguments.flag("json") &&
      arguments.one_of({"output-format", "json"}) == "json")
    format = "json";
  const std::string svg = arguments.text_or("svg", "");
  if (!sweeps) {
    if (!svg.empty()) throw UsageError("--svg draws a --sweep");
    const std::string path = model_path(arguments);
    const ModelHandle model = open_model(arguments, path);
    warn_of_length(model, options.depth, options, arguments);
    return print_bench_report(format, path, bench_once(model, options, arguments));
  }
  if (kind == "threads" && arguments.text_or("backend", "cpu") != "cpu" &&
      !arguments.given("gpu-layers"))
    throw UsageError(
        "--sweep threads is over the CPU's threads, and with --backend nothing runs on them; give "
        "--gpu-layers, or leave out --backend");
  if ((kind == "batch" || kind == "length") && options.generate < 0)
    throw UsageError("-n 0 leaves nothing to sweep");
  std::vector<std::string> models = arguments.positionals();
  if (models.empty()) models.push_back(model_path(arguments));
  if (!svg.empty()) check_output(svg, ".svg", models);
  const ordered_json sweep = run_sweep(kind, models, arguments, options);
  print_sweep(format, sweep);
  if (!svg.empty()) write_file(svg, sweep_svg(sweep));
}

}  // namespace

Command bench_command() {
  OptionGroup output = general_options();
  output.options.insert(output.options.begin(),
                        {"o,output-format,output", "FORMAT", "md (default), csv, json or jsonl"});
  output.options.push_back(quiet_option());
  return {"bench",
          "MODEL [options], or --sweep NAME MODEL [MODEL ...]",
          "speed of prompt processing and of generation",
          "Times a prompt of -p tokens (pp) and the generation of -n tokens (tg), each -r times, "
          "against what this machine gives in the same run: memory read from end to end, and 8-bit "
          "multiply-adds in registers. --sweep repeats that over one quantity, for one or several "
          "models, prints a table and draws it: batch (1 to 32 sequences that decode together), "
          "length (1024 tokens beforehand, doubled up to -d, 65536), threads, or size (one "
          "point per model).",
          "  klens bench MODEL\n"
          "  klens bench MODEL -p 256 -n 64 -d 1024 -t 4 -o csv\n"
          "  klens bench A.klens B.klens --sweep batch --svg batch.svg\n",
          {{"Tests",
            {{"p,n-prompt", "N", "tokens of the prompt; 0: not tested (default 512)"},
             {"n,n-gen", "N", "tokens generated; 0: not tested (default 128; in a sweep 32)"},
             {"d,n-depth", "N", "tokens in the session beforehand (default 0)"},
             {"parallel", "N", "sequences that decode together (default 1)"},
             {"r,repetitions", "N", "times each test is run (default 5; in a sweep 3)"},
             {"sweep", "KIND", "batch, length, threads or size"},
             {"svg", "FILE", "draw the sweep"}}},
           model_options(),
           output},
          run_bench};
}

}  // namespace klens::apps
