// What a profile is looked at for: layers that stand out, and how well its metrics rank units.
#include <catch2/catch.hpp>
#include <cmath>
#include <sstream>

#include "tests/apps/run_program.h"

using namespace klens::testing;
using nlohmann::json;

namespace {

// Of 40 layers with two modules: layer 9 of one jumps, and 20 to 39 of the other do in turns.
std::string table(const std::string& column) {
  std::string text = "module," + column + ",layer\n";
  for (int layer = 0; layer < 40; ++layer) {
    text += "mlp.up_proj," + std::to_string(1 + layer % 2 + (layer >= 9 ? 50 : 0)) + "," +
            std::to_string(layer) + "\n";
    text += "a_module_of_a_long_name," + std::to_string(1 + layer % 3) + "," +
            std::to_string(layer) + "\n";
  }
  return text;
}

}  // namespace

TEST_CASE("plan --outliers lists the layers that stand out in a table of scores") {
  const Folder folder;
  const std::string csv = folder / "scores.csv";
  write_text(csv, table("kurtosis"));
  const json found = run_json({"plan", csv, "--method", "kurtboost", "--outliers", "--json"});
  CHECK(found["method"] == "kurtboost");
  CHECK(found["metric"] == "kurtosis");
  REQUIRE(found["modules"].size() == 2);
  CHECK(found["modules"][0]["module"] == "mlp.up_proj");
  CHECK(found["modules"][0]["layers"] == json{9});
  CHECK(found["modules"][0]["z"][0] > 3);
  CHECK(found["modules"][1]["layers"].empty());
  const Outcome plain = run({"plan", csv, "--method", "kurtboost", "--outliers"});
  CHECK(plain.code == 0);
  CHECK_THAT(plain.out, Catch::Contains("kurtosis") && Catch::Contains("mlp.up_proj") &&
                            Catch::Contains(" 9\n") && Catch::Contains(" -\n"));
  CHECK(run({.arguments = {"plan", "-", "--method", "kurtboost", "--outliers"},
             .input = table("kurtosis")})
            .out == plain.out);
  // Where none is named, the first method that looks for any.
  check_failure({"plan", csv, "--outliers"},
                csv + ": has no column 'sensitivity', only: module, kurtosis, layer; ");
  check_failure({"plan", csv, "--outliers", "--method", "greedy"},
                "looks for no outliers: use sensiboost or kurtboost");
  check_usage_error({"plan", csv, "--outliers", "--method", "best"}, "\"best\" is not one of");
  check_usage_error({"plan", csv, "--bpw", "4.5"}, "--outliers");
  check_usage_error({"plan", csv, "--outliers", "--bpw", "5"}, "--bpw");
  check_usage_error({"plan", csv, "--outliers", "-o", "x.json"}, "--json");
  check_usage_error({"plan", csv, "--bpw", "5", "--most", "2"}, "--outliers");
}

TEST_CASE("plan --outliers breaks long lists of layers, and takes the first few") {
  const Folder folder;
  std::string text = "layer,module,kurtosis\n";
  double kurtosis = 3;
  for (int layer = 0; layer < 1000; ++layer) {
    if (layer % 25 == 24) kurtosis += layer;
    text += std::to_string(layer) + ",mlp.down_proj," + std::to_string(kurtosis + layer % 2) + "\n";
  }
  write_text(folder / "s.csv", text);
  const std::vector<std::string> call = {"plan", folder / "s.csv", "--method", "kurtboost",
                                         "--outliers"};
  std::istringstream lines(run(call).out);
  size_t count = 0;
  for (std::string line; std::getline(lines, line); ++count) CHECK(line.size() <= 80);
  CHECK(count > 6);
  const json first = run_json(call + std::vector<std::string>{"--most", "2", "--json"});
  CHECK(first["modules"][0]["layers"] == json{974, 999});
}

TEST_CASE("plan --outliers and its methods take a profile too") {
  const Folder folder;
  const std::string profile = folder / "p.json";
  write_text(profile, profile_text());
  for (const char* method : {"sensiboost", "kurtboost"}) {
    const json found = run_json({"plan", profile, "--method", method, "--outliers", "--json"});
    CHECK(found["modules"].size() == 4);  // of the demo's eight layers none can stand out
    CHECK(found["modules"][0]["layers"].empty());
    const json plan = run_json({"plan", profile, "--method", method, "--bpw", "9", "--json"});
    for (const auto& [unit, choice] : plan["units"].items()) CHECK(choice["format"] == "int8");
  }
  json without = json::parse(profile_text());
  without["units"][5].erase("kurtosis");
  write_text(profile, without.dump());
  check_failure({"plan", profile, "--method", "kurtboost", "--outliers"},
                profile + ": unit " + without["units"][5]["name"].get<std::string>() +
                    " has no kurtosis: profile again with it in --metrics");
}

TEST_CASE("quantize by outliers measures what that takes, or refuses before anything", "[long]") {
  for (const char* method : {"sensiboost", "kurtboost"}) {
    const std::vector<std::string> words = {"quantize", kModel,  "--dry-run", "--no-measure",
                                            "--json",   "--bpw", "9",         "--method",
                                            method};
    CHECK(run_json(words + short_run())["plan"]["method"] == method);
    check_failure(words + short_run() + std::vector<std::string>{"--metrics", "kl"},
                  "method " + std::string(method) + " needs the metric ");
  }
}

TEST_CASE("profile --validate says how well metrics rank units on other text", "[long]") {
  const Folder folder;
  const std::string profile = folder / "p.json", other = kModel + "/../own-text.txt";
  const std::vector<std::string> call =
      std::vector<std::string>{"profile",    kModel, "-o",         profile,
                               "--validate", other,  "--measured", "all"} +
      short_run();
  const Outcome plain = run(call);
  REQUIRE(plain.code == 0);
  CHECK_THAT(plain.out, Catch::Contains("own-text.txt") && Catch::Contains("tau-b") &&
                            Catch::Contains("int8, no head") &&
                            Catch::Contains("int4g64, the head too"));
  std::istringstream lines(plain.out);
  for (std::string line; std::getline(lines, line);) CHECK(line.size() <= 80);
  const json whole = json::parse(read_text(profile)), &validation = whole["validation"];
  CHECK(validation["source"] == "own-text.txt");
  CHECK(validation["windows"] == whole["calibration"]["windows"]);
  CHECK(validation["candidates"].size() == 70);
  for (const json& candidate : validation["candidates"])
    CHECK(std::log(candidate["ppl"].get<double>() / validation["perplexity"].get<double>()) ==
          Approx(candidate["delta_ce"].get<double>()).margin(1e-9));
  for (const json& row : validation["agreement"]) {
    if (row["metric"] != "kl" || row["format"] != "int4g64" || row["with_head"] == true) continue;
    CHECK(row["units"] == 32);
    CHECK(row["with_kl"]["tau"] > 0.3);  // two windows of 64 tokens
    CHECK(row["with_kl"]["low"] < row["with_kl"]["tau"]);
    CHECK(row["with_kl"]["high"] >= row["with_kl"]["tau"]);
  }
  // It is a profile as any other.
  CHECK(run({"plan", profile, "--bpw", "6"}).code == 0);
  write_text(folder / "short.txt", "Two words.");
  check_failure(std::vector<std::string>{"profile", kModel, "-o", profile, "--validate",
                                         folder / "short.txt"} +
                    short_run(),
                "fewer than two windows");
  check_failure({"profile", kModel, "-o", profile, "--validate", "no/such/text"}, "no/such/text");
}
