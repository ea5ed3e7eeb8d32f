// The frontier as a user makes it.
#include <algorithm>
#include <catch2/catch.hpp>
#include <csignal>

#include "quant/planner.h"
#include "tests/apps/run_program.h"

using namespace klens::testing;
using nlohmann::json;

namespace {

const std::vector<std::string>& short_sweep() {
  static const std::vector<std::string> options = {
      "--points", "3", "--test-windows", "2", "-n", "4", "-r", "1"};
  return options;
}

json read_json(const std::string& path) { return json::parse(read_text(path)); }

// What does not depend on the clock.
json without_speed(json sweep) {
  for (json& point : sweep["points"]) {
    point.erase("tok_s");
    point.erase("tok_s_stddev");
  }
  return sweep;
}

}  // namespace

TEST_CASE("sweep writes the frontier, prints it, and keeps the profile") {
  const Folder folder;
  const std::string sweep = folder / "sweep.json", profile = folder / "profile.json";
  const Outcome outcome = run(std::vector<std::string>{"sweep", kModel, "-o", sweep, "-f", kSample,
                                                       "--save-profile", profile} +
                              short_run() + short_sweep());
  INFO(outcome.err);
  REQUIRE(outcome.code == 0);
  CHECK(outcome.err.empty());
  const json report = read_json(sweep);
  CHECK(report["klens_sweep"] == 1);
  CHECK_FALSE(report.contains("profile"));
  CHECK_FALSE(exists(sweep + ".partial"));
  CHECK(report["evaluation"]["windows"] == 2);
  CHECK(report["evaluation"]["text"] == "sample.txt, behind the profile's windows");
  CHECK(report["evaluation"]["ppl"] > 1);
  CHECK(report["calibration"]["source"] == "sample.txt");
  CHECK(report["machine"]["threads"] == 2);
  CHECK(report["model"] == read_json(profile)["model"]);
  for (const klens::PlanMethod& method : klens::kPlanMethods)
    CHECK(std::ranges::count(report["methods"], method.name) == (method.takes_format ? 0 : 1));
  CHECK(report["points"].size() == 3 * report["methods"].size());
  for (const json& point : report["points"]) {
    CAPTURE(point.dump());
    REQUIRE(point.contains("budget"));
    if (point.contains("refused")) continue;
    for (const char* key : {"bpw", "bytes", "predicted_kl", "kl", "kl_stderr", "ppl", "tok_s"})
      CHECK(point[key].is_number());
  }
  CHECK_THAT(outcome.out, Catch::Contains("bpw") && Catch::Contains("tok/s") &&
                              Catch::Contains("exact knapsack"));
  for (size_t begin = 0; begin < outcome.out.size();) {  // reasons of refusals apart
    const size_t end = outcome.out.find('\n', begin);
    const std::string line = outcome.out.substr(begin, end - begin);
    if (line.find("no plan for") == std::string::npos && line.find("written") == std::string::npos)
      CHECK(line.size() <= 80);
    begin = end + 1;
  }

  // A point is what `plan` makes of the profile.
  const json plan = run_json({"plan", profile, "--bpw", "4.6", "--json"});
  const json again = run_json(std::vector<std::string>{"sweep", kModel, "--profile", profile, "-f",
                                                       kSample, "--bpw", "4.6", "--methods",
                                                       klens::kPlanMethods[0].name, "--json"} +
                              std::vector<std::string>{"-n", "0", "--test-windows", "2", "-q"});
  REQUIRE(again["points"].size() == 1);
  CHECK(again["points"][0]["predicted_kl"] == plan["predicted_kl"]);
  CHECK(again["points"][0]["bpw"] == plan["bpw"]);
  CHECK_FALSE(again["points"][0].contains("tok_s"));
}

TEST_CASE("an interrupted sweep goes on to the same result", "[long]") {
  const Folder folder;
  const std::string whole = folder / "whole.json", parts = folder / "parts.json";
  const std::vector<std::string> options = short_run() + short_sweep();
  REQUIRE(run(std::vector<std::string>{"sweep", kModel, "-o", whole} + options).code == 0);
  int interruptions = 0;
  bool done = false;
  for (int delay_ms = 300; !done && delay_ms < 60000; delay_ms = delay_ms * 3 / 2) {
    Call call;
    call.arguments = std::vector<std::string>{"sweep", kModel, "-o", parts} + options;
    if (exists(parts + ".partial")) call.arguments.push_back("--resume");
    call.signal = SIGINT;
    call.signal_after = std::chrono::milliseconds(delay_ms);
    const Outcome outcome = run(call);
    INFO(outcome.err);
    done = outcome.code == 0;
    if (done || outcome.signal == SIGINT) continue;
    CHECK(outcome.code == 1);
    CHECK(is_one_error_line(outcome.err));
    CHECK_FALSE(exists(parts));
    ++interruptions;
  }
  CHECK(interruptions >= 1);
  REQUIRE(done);
  CHECK(without_speed(read_json(parts)) == without_speed(read_json(whole)));
}

TEST_CASE("a sweep refuses in one line what it cannot go by") {
  const Folder folder;
  const std::string out = folder / "sweep.json", profile = folder / "profile.json";
  const auto refused = [&](const std::vector<std::string>& more, const std::string& mentions) {
    check_failure(std::vector<std::string>{"sweep", kModel, "-o", out} + more, mentions);
    CHECK_FALSE(exists(out));
  };
  json other = json::parse(profile_text());
  other["model"]["checkpoint_xxh3"] = "0123456789abcdef";
  write_text(profile, other.dump());
  refused({"--profile", profile}, profile + ": is of other weights");
  write_text(profile, profile_text().substr(0, 200));
  refused({"--profile", profile}, profile);
  write_text(profile, "{}");
  refused({"--profile", profile}, profile);
  refused({"--profile", folder / "missing.json"}, "missing.json");
  refused({"--methods", "uniform"}, "takes a format");
  refused(std::vector<std::string>{"--bpw", "0.5"} + short_run(), "smallest plan");
  const std::string brief = folder / "brief.txt";
  write_text(brief, "The river runs to the sea.");
  refused(std::vector<std::string>{"-f", brief} + short_run(), "brief.txt: is used up");
  refused({"--test", brief, "-f", folder / "missing.txt"}, "missing.txt");
  write_text(profile, profile_text());
  check_failure({"sweep", kModel, "-o", profile, "--profile", profile}, "profile.json");
  CHECK(read_text(profile) == profile_text());
}
