// The main job: profile, plan, quantize, and that an output file is whole or not there.
#include <catch2/catch.hpp>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>

#include "tests/apps/run_program.h"
#include "tests/loaders/gguf_builder.h"

using namespace klens::testing;
using nlohmann::json;

namespace {

std::string file_with_profile(const Folder& folder) {
  write_text(folder / "profile.json", profile_text());
  return folder / "profile.json";
}

}  // namespace

TEST_CASE("a profile has what plan needs") {
  const json profile = json::parse(profile_text());
  CHECK(profile["klens_profile"] == 1);
  for (const char* key : {"model", "calibration", "fixed_bytes", "units"})
    CHECK(profile.contains(key));
  REQUIRE(profile["units"].size() == 35);
  for (const json& unit : profile["units"]) {
    CHECK(unit["candidates"].size() == 5);  // int8 and int4g64, twice, and fp16
    for (const json& candidate : unit["candidates"]) CHECK(candidate["kl"] >= 0);
  }
}

TEST_CASE("plan prints a table and a map, or plan.json") {
  const Folder folder;
  const std::string profile = file_with_profile(folder);
  const json plan = run_json({"plan", profile, "--bpw", "6", "-o", folder / "plan.json", "--json"});
  CHECK(plan == json::parse(read_text(folder / "plan.json")));
  CHECK(plan["klens_plan"] == 1);
  CHECK(plan["bpw"] <= 6);
  CHECK(plan["units"].size() == 35);
  const Outcome plain = run({"plan", profile, "--bpw", "6"});
  CHECK(plain.code == 0);
  CHECK_THAT(plain.out, Catch::Contains("lm_head") && Catch::Contains("dt_proj") &&
                            Catch::Contains("predicted KL"));
  CHECK(plain.out.find('\033') == std::string::npos);  // no colours where there is no terminal
  for (size_t begin = 0; begin < plain.out.size();) {
    const size_t end = plain.out.find('\n', begin);
    CHECK(end - begin <= 80);
    begin = end + 1;
  }
  CHECK(run({"plan", profile, "--bpw", "0.5"}).code == 1);
  const json pinned = run_json({"plan", profile, "--bpw", "8", "--tensor-type", "lm_head=int4g64",
                                "--tensor-type", "layers[.]0[.].*=fp16", "--json"});
  CHECK(pinned["units"]["lm_head[0:512]"]["format"] == "int4g64");
  CHECK(pinned["units"]["backbone.layers.0.mixer.in_proj"]["format"] == "fp16");
}

TEST_CASE("a plan is baked as it is") {
  const Folder folder;
  const std::string plan_path = folder / "plan.json", model = folder / "m.klens";
  const json plan =
      run_json({"plan", file_with_profile(folder), "--bpw", "6", "-o", plan_path, "--json"});
  const json report =
      run_json({"quantize", kModel, "--plan", plan_path, "-o", model, "-c", "64", "--json", "-q"});
  for (const char* key : {"bytes", "bpw", "kl", "ppl_before", "ppl_after"})
    CHECK(report.contains(key));
  CHECK(report["bytes"] == std::filesystem::file_size(model));
  const json inspected = run_json({"inspect", model, "--verify", "--json"});
  for (const json& unit : inspected["units"])
    CHECK(unit["format"] == plan["units"][unit["name"].get<std::string>()]["format"]);
  CHECK(inspected["bpw"].get<double>() == Approx(plan["bpw"].get<double>()));
  const std::string text = run({"generate", model, "-p", "The river", "-n", "8", "-q"}).out;
  CHECK_THAT(text, Catch::StartsWith("The river"));
}

TEST_CASE("a profile and a plan that are taken for each other are told apart") {
  const Folder folder;
  const std::string profile = file_with_profile(folder), plan = folder / "plan.json";
  REQUIRE(run({"plan", profile, "--bpw", "6", "-o", plan}).code == 0);
  check_failure({"plan", plan, "--bpw", "6"}, plan + ": is a plan, not a profile; ");
  check_failure({"quantize", kModel, "--plan", profile, "--dry-run"},
                profile + ": is a profile, not a plan; `klens plan` makes one");
}

TEST_CASE("one command quantises to a size that is never exceeded", "[long]") {
  const Folder folder;
  const std::string model = folder / "m.klens";
  for (const char* size : {"3400000", "3.5M"}) {
    const Outcome outcome = run(
        std::vector<std::string>{"quantize", kModel, "-o", model, "--size", size} + short_run());
    INFO(outcome.err);
    REQUIRE(outcome.code == 0);
    CHECK(std::filesystem::file_size(model) <= (std::string(size) == "3.5M" ? 3670016u : 3400000u));
    CHECK_THAT(outcome.out, Catch::Contains("perplexity") && Catch::Contains("layer") &&
                                Catch::Contains("times smaller"));
    CHECK(run({"inspect", model, "--verify"}).code == 0);
  }
  CHECK_FALSE(exists(model + ".partial"));
}

TEST_CASE("what cannot be reached is said, and a dry run writes nothing", "[long]") {
  const Folder folder;
  const std::string model = folder / "m.klens";
  const Outcome outcome = run(
      std::vector<std::string>{"quantize", kModel, "-o", model, "--size", "100K"} + short_run());
  CHECK(outcome.code == 1);
  CHECK(is_one_error_line(outcome.err));
  CHECK_FALSE(exists(model));
  const json dry = run_json({"quantize", kModel, "-o", model, "--uniform", "int8", "-c", "16",
                             "--dry-run", "--json", "-q"});
  CHECK_FALSE(exists(model));
  const json real =
      run_json({"quantize", kModel, "-o", model, "--uniform", "int8", "-c", "16", "--json", "-q"});
  CHECK(dry["bytes"] >= real["bytes"]);
  CHECK(dry["kl"] == real["kl"]);
  std::filesystem::remove(model);
  run_json(std::vector<std::string>{"quantize", kModel, "-o", model, "--bpw", "6", "--dry-run",
                                    "--json"} +
           short_run());
  CHECK(std::filesystem::is_empty(folder / ""));
}

TEST_CASE("a plan that names a matrix and a part of it is refused") {
  const Folder folder;
  const std::string path = folder / "plan.json";
  json plan = run_json({"plan", file_with_profile(folder), "--bpw", "6", "-o", path, "--json"});
  plan["units"]["lm_head"] = plan["units"]["lm_head[0:512]"];
  std::ofstream(path) << plan;
  check_failure({"quantize", kModel, "--plan", path, "--dry-run"},
                "the plan names both lm_head and lm_head[0:512], which is a part of it");
}

TEST_CASE("a plan that is not measured makes the same file but for what was measured") {
  const Folder folder;
  const std::string model = folder / "m.klens";
  const std::vector<std::string> call = {"quantize",  kModel, "-o",          model,
                                         "--uniform", "int8", "--no-measure"};
  const json report = run_json(call + std::vector<std::string>{"--json", "-q"});
  for (const char* key : {"kl", "ppl_before", "ppl_after", "evaluation"})
    CHECK_FALSE(report.contains(key));
  CHECK(run_json({"inspect", model, "--verify", "--json"})["bpw"] == report["bpw"]);
  const Outcome plain = run(call + std::vector<std::string>{"-q"});
  CHECK_THAT(plain.out, Catch::Contains("bits/weight") && !Catch::Contains("perplexity"));
}

TEST_CASE("a killed quantize leaves no output or a whole one", "[long]") {
  using Clock = std::chrono::steady_clock;
  const Folder folder;
  const std::string model = folder / "m.klens";
  Call call;
  call.arguments = {"quantize", kModel, "-o", model, "--uniform", "int4g64", "-c", "16", "-q"};
  const Clock::time_point start = Clock::now();
  REQUIRE(run(call).code == 0);
  const auto duration = std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - start);
  const std::string old = read_text(model);

  // Over the whole run, and closely around its end, where the file is written.
  call.signal = SIGKILL;
  int killed = 0;
  for (int percent = 5; percent <= 120; percent += percent < 70 ? 13 : 4) {
    std::filesystem::remove(model);
    call.signal_after = duration * percent / 100;
    const Outcome outcome = run(call);
    killed += outcome.signal == SIGKILL;
    INFO("killed after " << percent << " %");
    CHECK((outcome.code == 0) <= exists(model));
    if (exists(model)) CHECK(read_text(model) == old);
  }
  CHECK(killed > 0);
  CHECK(run({"inspect", model, "--verify"}).code == (exists(model) ? 0 : 1));

  // An older output is untouched until the new one is whole.
  write_text(model, "older");
  call.signal_after = duration / 2;
  const bool finished = run(call).code == 0;
  CHECK(read_text(model) == (finished ? old : "older"));
}

TEST_CASE("a damaged model file is refused by inspect --verify") {
  const Folder folder;
  const std::string model = folder / "m.klens";
  REQUIRE(run({"quantize", kModel, "-o", model, "--uniform", "int8", "-c", "16", "-q"}).code == 0);
  std::string bytes = read_text(model);
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
  write_text(model, bytes);
  const Outcome outcome = run({"inspect", model, "--verify"});
  CHECK(outcome.code == 1);
  CHECK(is_one_error_line(outcome.err));
  write_text(model, bytes.substr(0, bytes.size() / 2));
  CHECK(run({"inspect", model}).code == 1);
  CHECK(run({"generate", model, "-p", "x"}).code == 1);
}

TEST_CASE("figures of a file that grows or was quantised before are told as they are") {
  const Folder folder;
  const std::string small = folder / "small.klens", large = folder / "large.klens";
  const std::vector<std::string> options = {"-c", "16"};
  const Outcome first = run(
      std::vector<std::string>{"quantize", kModel, "-o", small, "--uniform", "int4g64"} + options);
  REQUIRE(first.code == 0);
  CHECK_THAT(first.out, Catch::Contains("times smaller") && !Catch::Contains("quantised already"));
  CHECK_THAT(first.err, !Catch::Contains("quantised already"));
  const Outcome second =
      run(std::vector<std::string>{"quantize", small, "-o", large, "--uniform", "fp16"} + options);
  REQUIRE(second.code == 0);
  CHECK_THAT(second.out, Catch::Contains("times larger") &&
                             Catch::Contains("quantised already (int4g64 in 33 of 33 matrices)"));
  CHECK_THAT(second.err, Catch::Contains("note: " + small + " is quantised already"));
  const Outcome unmeasured =
      run({"quantize", small, "--dry-run", "--uniform", "fp16", "--no-measure"});
  REQUIRE(unmeasured.code == 0);
  CHECK_THAT(unmeasured.out + unmeasured.err, !Catch::Contains("quantised already"));
  const json provenance = run_json({"inspect", large, "--json"})["provenance"];
  CHECK(provenance["source.formats"] == "int4g64 in 33 of 33 matrices");
  CHECK(provenance["measured_against"] == "the source");
  CHECK(provenance.contains("source.measured_kl"));
}

TEST_CASE("a GGUF's bits are those of its file, in a folder and without a name too") {
  const Folder folder;
  write_text(folder / "sha256-4d7a", small_quantised_gguf_llama().bytes());
  const std::string alone = std::filesystem::path(folder / "x").parent_path().string();
  const json inspected = run_json({"inspect", alone, "--json"});
  double bytes = 0, weights = 0;
  for (const json& unit : inspected["units"]) {
    bytes += unit["bytes"].get<double>();
    weights += unit["rows"].get<double>() * unit["cols"].get<double>();
    const bool quantised = unit["name"] == "model.layers.0.mlp.down_proj";
    CHECK(unit["format"] == (quantised ? "q4_1" : "f32"));
    if (quantised) CHECK(unit["bytes"] == 160);  // 5 bits per weight
  }
  CHECK(inspected["bpw"].get<double>() == Approx(8 * bytes / weights));
  CHECK(inspected["bytes"] <= inspected["file_bytes"]);
}

TEST_CASE("a quantised GGUF is kept as it is") {
  const Folder folder;
  const std::string gguf = folder / "small.gguf", kept = folder / "kept.klens";
  write_text(gguf, small_quantised_gguf_llama().bytes());
  REQUIRE(run({"quantize", gguf, "-o", kept, "--keep"}).code == 0);
  const json after = run_json({"inspect", kept, "--json"});
  for (const json& unit : after["units"]) {
    const bool quantised = unit["name"] == "model.layers.0.mlp.down_proj";
    CHECK(unit["format"] == (quantised ? "int4ag32" : "fp16"));
    CHECK(unit["quantizer"] == (quantised ? "stored" : "rtn"));
  }
  using Option = std::pair<const char*, const char*>;
  for (const auto& [option, value] : {Option{"--bpw", "5"},
                                      {"--size", "1M"},
                                      {"--max-kl", "1"},
                                      {"--uniform", "int8"},
                                      {"--plan", "p.json"}})
    check_usage_error({"quantize", gguf, "-o", kept, "--keep", option, value},
                      "exclude each other");
}

TEST_CASE("no list is headed by what was not measured") {
  const Folder folder;
  const Outcome outcome =
      run(std::vector<std::string>{"profile", kModel, "-o", folder / "p.json", "--metrics", "mse"} +
          short_run());
  REQUIRE(outcome.code == 0);
  CHECK_THAT(outcome.out, Catch::Contains("written") && !Catch::Contains("KL, in nats"));
}
