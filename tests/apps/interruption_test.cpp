// Ctrl-C: what runs stops cleanly, and a measurement goes on where it stopped.
#include <catch2/catch.hpp>
#include <csignal>

#include "tests/apps/run_program.h"

using namespace klens::testing;

namespace {

Call interrupted_after(std::vector<std::string> arguments, std::chrono::milliseconds delay) {
  Call call;
  call.arguments = std::move(arguments);
  call.signal = SIGINT;
  call.signal_after = delay;
  return call;
}

}  // namespace

TEST_CASE("an interrupted profile goes on to the same result", "[long]") {
  const Folder folder;
  const std::vector<std::string> options = {"--windows", "4", "-c",        "64",          "-q",
                                            "-t",        "2", "--formats", "int8,int4g64"};
  const std::string whole = folder / "whole.json", parts = folder / "parts.json";
  REQUIRE(run(std::vector<std::string>{"profile", kModel, "-o", whole} + options).code == 0);

  // Delays grow, so that some interruption falls between two windows on any machine.
  int interruptions = 0;
  bool done = false;
  for (int delay_ms = 300; !done && delay_ms < 60000; delay_ms = delay_ms * 3 / 2) {
    std::vector<std::string> arguments =
        std::vector<std::string>{"profile", kModel, "-o", parts} + options;
    if (exists(parts + ".partial")) arguments.push_back("--resume");
    const Outcome outcome = run(interrupted_after(arguments, std::chrono::milliseconds(delay_ms)));
    if (outcome.code == 0) {
      done = true;
      continue;
    }
    INFO(outcome.err);
    // A signal before the handler is there ends the program, as Ctrl-C should.
    if (outcome.signal == SIGINT) continue;
    CHECK(outcome.code == 1);
    CHECK(is_one_error_line(outcome.err));
    CHECK_FALSE(exists(parts));
    if (!exists(parts + ".partial")) continue;
    CHECK_THAT(outcome.err, Catch::Contains("--resume"));
    ++interruptions;
  }
  CHECK(interruptions >= 1);
  REQUIRE(done);
  CHECK(read_text(parts) == read_text(whole));
  CHECK_FALSE(exists(parts + ".partial"));
}

TEST_CASE("an interrupted generate ends in order") {
  Call call = interrupted_after(
      {"generate", kModel, "-p", "The river", "-n", "100000000", "--ignore-eos"}, {});
  call.signal_once_said = "The river";
  const Outcome outcome = run(call);
  CHECK(outcome.code == 0);
  CHECK_THAT(outcome.out, Catch::StartsWith("The river") && Catch::EndsWith("\n"));
  CHECK_THAT(outcome.err, Catch::Contains("interrupt"));
}

TEST_CASE("an interrupted quantize writes nothing") {
  const Folder folder;
  const std::string model = folder / "m.klens";
  const Outcome outcome = run(interrupted_after(
      {"quantize", kModel, "-o", model, "--bpw", "5", "--windows", "4000", "-c", "96", "-q"},
      std::chrono::milliseconds(1500)));
  CHECK(outcome.code == 1);
  CHECK(is_one_error_line(outcome.err));
  CHECK_THAT(outcome.err, Catch::Contains("interrupted"));
  CHECK_FALSE(exists(model));
}
