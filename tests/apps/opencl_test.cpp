// The program with --backend opencl, on whatever driver this machine has.
#include <catch2/catch.hpp>
#include <iostream>

#include "tests/apps/run_program.h"
#include "tests/skipped.h"

namespace klens {
namespace {

using namespace klens::testing;

bool has_opencl() {
  const nlohmann::json devices = run_json({"devices", "--json"})["devices"];
  for (const nlohmann::json& device : devices)
    if (device["backend"].get<std::string>().starts_with("opencl") && device["problem"].is_null())
      return true;
  std::cout << "skip: there is no device of OpenCL\n";
  skipped = true;
  return false;
}

std::vector<std::string> bench_with(std::vector<std::string> more) {
  std::vector<std::string> call = {"bench", kModel, "-p", "9",         "-n",    "2",
                                   "-r",    "1",    "-q", "--backend", "opencl"};
  call.insert(call.end(), more.begin(), more.end());
  return call;
}

}  // namespace

TEST_CASE("bench prints a table of kernels with --backend opencl", "[opencl]") {
  if (!has_opencl()) return;
  const Outcome outcome = run(bench_with({}));
  REQUIRE(outcome.code == 0);
  CHECK_THAT(outcome.out, Catch::Contains("| kernel of pp9 | launches | ms | % |") &&
                              Catch::Contains("| kernel of tg2 | launches | ms | % |") &&
                              Catch::Contains("| selective_scan | ") &&
                              Catch::Contains("| memory read | "));
  const nlohmann::json report = run_json(bench_with({"--json"}));
  for (const nlohmann::json& test : report["tests"]) {
    REQUIRE(test["kernels"].size() > 3);
    for (const nlohmann::json& kernel : test["kernels"]) {
      CHECK(kernel["launches"].get<int64_t>() > 0);
      CHECK(kernel["ms"].get<double>() >= 0);
      CHECK(kernel["share"].get<double>() <= 1.01);
    }
  }
  CHECK_FALSE(
      run_json({"bench", kModel, "-p", "9", "-n", "0", "-r", "1", "--json"})["tests"][0].contains(
          "kernels"));
}

TEST_CASE("the first layers run on OpenCL, by option and by variable", "[opencl]") {
  if (!has_opencl()) return;
  Call call;
  call.arguments = {"generate", kModel, "-p", "The", "-n", "8", "--temp", "0", "-q"};
  const std::string want = run(call).out;
  call.environment = {{"KLENS_ARG_BACKEND", "opencl"}};
  for (const char* layers : {"0", "1", "1000"}) {
    call.environment = {{"KLENS_ARG_BACKEND", "opencl"}, {"KLENS_ARG_GPU_LAYERS", layers}};
    const Outcome outcome = run(call);
    CAPTURE(layers, outcome.err);
    CHECK(outcome.code == 0);
    CHECK(outcome.out == want);
  }
  CHECK_THAT(run_json(bench_with({"--gpu-layers", "2", "--json"}))["isa"].get<std::string>(),
             Catch::Contains("the first 2 layers on opencl"));
  // What names the device is looked at where nothing runs on it, and where devices are listed.
  check_failure({"bench", kModel, "-q", "--backend", "opencl:99", "--gpu-layers", "0"},
                "no device 99");
  call.environment = {{"KLENS_OPENCL_CHECKSUM", "yes"}};
  call.arguments = {"bench", kModel, "-q", "--backend", "opencl", "--gpu-layers", "0"};
  CHECK_THAT(run(call).err, Catch::Contains("KLENS_OPENCL_CHECKSUM"));
  call.arguments = {"devices"};
  CHECK_THAT(run(call).err, Catch::Contains("KLENS_OPENCL_CHECKSUM"));
  // Whether or not there is something to draft.
  for (const char* command : {"generate", "chat"})
    check_failure(
        {command, kModel, "-p", "The", "-n", "1", "-q", "--draft", "ngram", "--backend", "opencl"},
        "drafts are verified on the CPU alone");
  const Folder folder;
  check_failure({"profile", kModel, "-o", folder / "p.json", "-q", "--backend", "opencl",
                 "--gpu-layers", "1"},
                "leave out --gpu-layers");
  check_failure({"quantize", kModel, "-o", folder / "m.klens", "--uniform", "int8", "-q",
                 "--backend", "opencl", "--gpu-layers", "1"},
                "leave out --gpu-layers");
}

}  // namespace klens
