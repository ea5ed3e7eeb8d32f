// Wrong calls, help and the environment: nothing here needs to compute much.
#include <algorithm>
#include <catch2/catch.hpp>
#include <csignal>
#include <nlohmann/json.hpp>

#include "quant/planner.h"
#include "tests/apps/run_program.h"

using namespace klens::testing;

namespace {

const std::vector<std::string> kCommands = {
    "generate", "chat",    "perplexity", "compare",  "profile", "plan",   "quantize", "sweep",
    "report",   "inspect", "bench",      "tokenize", "embed",   "logits", "devices",  "serve"};

}  // namespace

TEST_CASE("help and version go to standard output") {
  for (const char* spelling : {"--help", "-h", "help"}) {
    const Outcome outcome = run({spelling});
    CHECK(outcome.code == 0);
    CHECK(outcome.err.empty());
    for (const std::string& command : kCommands) CHECK_THAT(outcome.out, Catch::Contains(command));
    for (const char* runs : {"Mamba-2", "Jamba", "Llama", ".gguf"})
      CHECK_THAT(outcome.out, Catch::Contains(runs));
  }
  CHECK_THAT(run({"--version"}).out, Catch::StartsWith("klens 1."));
}

TEST_CASE("every command has help of at most 80 columns, with examples") {
  for (const std::string& command : kCommands) {
    const Outcome outcome = run({command, "--help"});
    INFO(command);
    CHECK(outcome.code == 0);
    CHECK(outcome.err.empty());
    CHECK_THAT(outcome.out, Catch::StartsWith("klens " + command));
    CHECK_THAT(outcome.out, Catch::Contains("--json") && Catch::Contains("Examples:"));
    CHECK(run({"help", command}).out == outcome.out);
    const std::string options = outcome.out.substr(0, outcome.out.find("Examples:"));
    for (size_t begin = 0; begin < options.size();) {
      const size_t end = options.find('\n', begin);
      CHECK(end - begin <= 80);
      begin = end + 1;
    }
  }
}

TEST_CASE("help and refusals list exactly the names of the tables") {
  // Words with a line's end, or several spaces, as one space.
  const auto help_of = [](const std::string& command) {
    std::istringstream words(run({command, "--help"}).out);
    std::string text;
    for (std::string word; words >> word;) text += (text.empty() ? "" : " ") + word;
    return text;
  };
  const auto all = [](const auto&) { return true; };
  const std::string formats = klens::names_of(klens::kFormats);
  for (const char* command : {"plan", "quantize"}) {
    const std::string help = help_of(command);
    std::string methods = std::string("(default ") + klens::kPlanMethods[0].name + ")";
    for (const klens::PlanMethod& row : klens::kPlanMethods)
      if (!row.takes_format) methods += " " + std::string(row.name) + ": " + row.about;
    CHECK_THAT(help, Catch::Contains("one format for every unit: " + formats + " --"));
    CHECK_THAT(help, Catch::Contains("--method NAME how to choose " + methods + " --tensor-type"));
  }
  for (const char* command : {"profile", "quantize"}) {
    const std::string help = help_of(command);
    CHECK_THAT(help, Catch::Contains("(default " +
                                     klens::names_where(klens::kFormats, ", ",
                                                        [](const klens::Format& format) {
                                                          return format.candidate;
                                                        }) +
                                     ", and smaller ones where a budget asks for them); " +
                                     klens::kBaseFormat.name + " always is one --quantizer NAME"));
    for (const klens::Quantizer& row : klens::kQuantizers)
      CHECK_THAT(help, Catch::Contains(std::string(row.name) + ", " + row.about));
    CHECK_THAT(help, Catch::Contains("--metrics LIST of " +
                                     klens::names_where(klens::kMetrics, ", ", all) + " (default"));
  }
  check_usage_error({"profile", kModel, "--json", "--formats", "int3"},
                    "format \"int3\" is not one of " + formats);
  check_usage_error({"profile", kModel, "--json", "--metrics", "kl,size"},
                    "metric \"size\" is not one of " + klens::names_of(klens::kMetrics));
  check_usage_error({"profile", kModel, "--json", "--quantizer", "best"},
                    "quantizer \"best\" is not one of");
  check_usage_error({"profile", kModel, "--json", "--suffix", "slow"}, "exact, fast");
  check_usage_error({"sweep", kModel, "--json", "--methods", "klens,best"},
                    "\"best\" is not one of " + klens::names_of(klens::kPlanMethods));
  check_usage_error({"plan", "p.json", "--outliers", "--method", "best"}, "is not one of");
  check_usage_error({"quantize", kModel, "--dry-run", "--bpw", "5", "--method", "best"},
                    "\"best\" is not one of " + klens::names_of(klens::kPlanMethods));
  check_usage_error({"quantize", kModel, "--dry-run", "--uniform", "int3"}, formats);
  check_usage_error(
      {"quantize", kModel, "--dry-run", "--uniform", "int8", "--tensor-type", "x=int3"}, formats);
}

TEST_CASE("wrong calls are told apart from failures") {
  check_usage_error({});
  check_usage_error({"frobnicate"}, "frobnicate");
  for (const std::string& command : kCommands) {
    if (command != "devices") check_usage_error({command});  // that one needs nothing
    check_usage_error({command, "--frobnicate"}, "frobnicate");
  }
  check_usage_error({"generate", kModel}, "give one with -p");
  check_usage_error({"generate", kModel, "-p"});
  check_usage_error({"generate", kModel, "extra", "-p", "x"}, "extra");
  check_usage_error({"generate", kModel, "-p", "x", "-f", "y"}, "exclude");
  check_usage_error({"generate", kModel, "-p", "x", "--kv", "q8"}, "fp16, int8, f32");
  check_usage_error({"perplexity", kModel}, "-f");
  check_usage_error({"perplexity", kModel, "-f", kSample, "--protocol", "other"}, "klens, llama");
  check_usage_error({"compare", kModel, "-f", kSample}, "two models");
  check_usage_error({"profile", kModel}, "-o");
  check_usage_error({"quantize", kModel, "-o", "x.klens"}, "--bpw");
  check_usage_error({"quantize", kModel, "--bpw", "5"}, "-o");
  check_usage_error({"quantize", kModel, "-o", "x.klens", "--bpw", "5", "--size", "3M"}, "exclude");
  check_usage_error({"plan", "p.json"}, "--bpw");
  check_usage_error({"sweep", kModel}, "-o");
  check_usage_error({"sweep", kModel, "-o", "x.json", "--bpw", "4,five"}, "five");
  check_usage_error({"sweep", kModel, "-o", "x.json", "--sizes", "3M,"}, "--sizes");
  check_usage_error({"sweep", kModel, "-o", "x.json", "--bpw", "4", "--points", "3"}, "--points");
  check_usage_error({"sweep", kModel, "-o", "x.json", "--profile", "p.json", "--windows", "3"},
                    "--windows");
  check_usage_error({"sweep", kModel, "--json", "--resume"}, "-o");
  check_usage_error({"report", "p.json"}, "-o");
  check_usage_error({"report", "-o", "x.html"}, "FILE");
  check_usage_error({"logits", kModel, "-o", "x"}, "--ids");
  check_usage_error({"bench", kModel, "-p", "0", "-n", "0"});
  check_usage_error({"generate", kModel, "-p", "x", "--gpu-layers", "1"}, "--backend opencl");
  check_usage_error({"bench", kModel, "--backend", "cpu", "--gpu-layers", "0"}, "--gpu-layers");
  check_usage_error({"bench", kModel, "--backend", "opencl", "--gpu-layers", "-1"}, "gpu-layers");
  check_usage_error({"bench", kModel, kModel});
  check_usage_error({"bench", kModel, "--svg", "x.svg"}, "--sweep");
  check_usage_error({"bench", kModel, "--sweep", "batches"}, "batch");
  check_usage_error({"bench", kModel, "--sweep", "batch", "-n", "0"}, "-n 0");
  check_usage_error({"bench", kModel, "-o", "csv", "--json"},
                    "--output-format and --json exclude each other");
  check_usage_error({"bench", kModel, "--sweep", "threads", "--backend", "opencl"},
                    "over the CPU's threads");
}

TEST_CASE("numbers are read strictly") {
  for (const char* number : {"12abc", "", "-1", "1.5", "0x10", " 3", "1e3", "99999999999999999999"})
    check_usage_error({"generate", kModel, "-p", "x", "-n", number}, "--predict");
  for (const char* number : {"nan", "inf", "-0.5", "1e999", "hot", "0.8x"})
    check_usage_error({"generate", kModel, "-p", "x", "--temp", number}, "--temp");
  for (const char* number : {"1.01", "-1", "nan"})
    check_usage_error({"generate", kModel, "-p", "x", "--top-p", number}, "--top-p");
  for (const char* number : {"-1", "1.5", "x"})
    check_usage_error({"generate", kModel, "-p", "x", "--seed", number}, "--seed");
  for (const char* size : {"0", "-5", "3X", "2.5", "M", "1e6", "3Mi", "nan", ""})
    check_usage_error({"quantize", kModel, "-o", "x.klens", "--size", size}, "--size");
  for (const char* bits : {"0", "-4", "nan", "4,5"})
    check_usage_error({"quantize", kModel, "-o", "x.klens", "--bpw", bits}, "--bpw");
}

TEST_CASE("missing and unfit files are failures of one line") {
  check_failure({"generate", "no/such/model", "-p", "x"}, "no/such/model");
  check_failure({"inspect", "no/such/model"}, "no/such/model");
  check_failure({"inspect", kSample}, "sample.txt");
  check_failure({"inspect", kModel + "/config.json"}, "config.json: is a JSON file");
  check_failure({"perplexity", kModel, "-f", "no/such/text"}, "no/such/text");
  check_failure({"tokenize", "no/such/model", "-p", "x"}, "no/such/model");
  check_failure({"plan", "no/such/profile", "--bpw", "5"}, "no/such/profile");
  check_failure({"plan", kSample, "--bpw", "5"}, "sample.txt");
  check_failure({"quantize", kModel, "-o", "no/such/folder/x.klens", "--uniform", "int8"},
                "folder");
  check_failure({"quantize", kModel, "-o", "/", "--uniform", "int8"}, "folder");
  check_failure({"generate", kModel, "-p", "x", "--backend", "abacus"}, "abacus");
  // Whatever a name holds, the message is one line.
  check_failure({"inspect", "no\nsuch\033model"}, "klens: error: ");
}

TEST_CASE("a backend on the command line silences the layers of another's") {
  Call call;
  call.arguments = {"generate", kModel, "-p", "x", "-n", "1"};
  call.environment = {{"KLENS_ARG_BACKEND", "opencl"}, {"KLENS_ARG_GPU_LAYERS", "2"}};
  call.arguments.insert(call.arguments.end(), {"--backend", "cpu"});
  CHECK(run(call).code == 0);
  call.environment = {{"KLENS_ARG_GPU_LAYERS", "2"}};
  call.arguments.resize(call.arguments.size() - 2);
  const Outcome refused = run(call);
  CHECK(refused.code == 2);
  CHECK_THAT(refused.err, Catch::Contains("KLENS_ARG_GPU_LAYERS is of --backend opencl"));
}

TEST_CASE("what OpenCL lacks is told in one line, and nothing runs in its place") {
  Call call;
  call.arguments = {"generate", kModel, "-p", "x", "-n", "1"};
  // Whether there is a loader or not, it finds no driver.
  call.environment = {{"OCL_ICD_VENDORS", "/no/such/folder"}, {"KLENS_ARG_BACKEND", "opencl"}};
  const Outcome outcome = run(call);
  CHECK(outcome.code == 1);
  CHECK(outcome.out == "");
  CHECK_THAT(outcome.err, Catch::StartsWith("klens: error: backend ") && Catch::Contains("cpu"));
  CHECK(std::count(outcome.err.begin(), outcome.err.end(), '\n') == 1);

  call.arguments = {"devices", "--json"};
  const nlohmann::json devices = nlohmann::json::parse(run(call).out)["devices"];
  REQUIRE_FALSE(devices.empty());
  CHECK(devices[0]["backend"] == "cpu");
  CHECK(devices[0]["problem"].is_null());
  if (devices.size() > 1) CHECK(devices[1]["problem"].get<std::string>() != "");
  call.arguments = {"devices"};
  CHECK_THAT(run(call).out, Catch::StartsWith("cpu\n") && Catch::Contains("avx2"));
  CHECK(run({"devices", "x"}).code == 2);
}

TEST_CASE("files of token ids are read strictly") {
  const Folder folder;
  const std::string ids = folder / "ids";
  for (const char* text : {"", " \n", "1 2 x", "1,2", "-1", "4096", "99999999999999999999", "1.0",
                           "0x1", "+1", "1 2\xff"}) {
    write_text(ids, text);
    check_failure({"generate", kModel, "--ids", ids, "-n", "1"}, ids);
  }
  write_text(ids, "\t422\r\n 3258  0\n4095");
  CHECK(run({"generate", kModel, "--ids", ids, "-n", "1"}).code == 0);
}

TEST_CASE("the environment sets options, the command line wins") {
  Call call;
  call.arguments = {"generate", "-p", "The river", "--json", "--greedy"};
  call.environment = {{"KLENS_ARG_MODEL", kModel}, {"KLENS_ARG_PREDICT", "3"}};
  Outcome outcome = run(call);
  REQUIRE(outcome.code == 0);
  CHECK(nlohmann::json::parse(outcome.out)["generated_tokens"] == 3);

  call.arguments.insert(call.arguments.end(), {"-n", "5"});
  CHECK(nlohmann::json::parse(run(call).out)["generated_tokens"] == 5);

  call.environment.push_back({"KLENS_ARG_TOP_K", "many"});
  outcome = run(call);
  CHECK(outcome.code == 2);
  CHECK_THAT(outcome.err, Catch::Contains("KLENS_ARG_TOP_K"));

  // An empty variable is none; a flag may be switched off; other commands' options do not matter.
  call.environment = {{"KLENS_ARG_TOP_K", ""}, {"KLENS_ARG_JSON", "0"}, {"KLENS_ARG_BPW", "x"}};
  call.arguments = {"generate", kModel, "-p", "x", "-n", "1", "-q"};
  CHECK(run(call).code == 0);

  // One budget on the command line silences another's variable.
  call.environment = {{"KLENS_ARG_SIZE", "1"}};
  call.arguments = {"quantize", kModel, "--uniform", "int8", "--dry-run", "--json", "-c", "16"};
  CHECK(run(call).code == 0);
}

TEST_CASE("an instruction set that the CPU lacks is told once") {
  Call call;
  call.arguments = {"perplexity", kModel, "-f", kSample, "-c", "16", "--windows", "1"};
  call.environment = {{"KLENS_ISA", "amx"}};
  const std::string isa = run({"--version"}).out;
  const bool has = isa.find("(amx)") != std::string::npos;
  const std::string note = "klens: note: KLENS_ISA=amx: ";
  CHECK((run(call).err.find(note) == std::string::npos) == has);
  call.arguments.push_back("-q");
  CHECK(run(call).err.empty());
  call.environment = {{"KLENS_ISA", "scalar"}};
  call.arguments.pop_back();
  CHECK(run(call).err.find("KLENS_ISA") == std::string::npos);
}
