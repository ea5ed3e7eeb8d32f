// A result that cannot be written is a failure, never a crash and never a silent success.
#include <catch2/catch.hpp>

#include "tests/apps/run_program.h"

using namespace klens::testing;

namespace {

const std::vector<std::vector<std::string>> kTalkative = {
    {"--help"},
    {"--version"},
    {"generate", "--help"},
    {"generate", kModel, "-p", "The river", "-n", "4", "-q"},
    {"generate", kModel, "-p", "The river", "-n", "4", "--json"},
    {"tokenize", kModel, "-p", "The river"},
    {"inspect", kModel},
    {"inspect", kModel, "--json"},
    {"perplexity", kModel, "-f", kSample, "--windows", "1", "-q"},
};

void check_failures(const Call& how) {
  for (const std::vector<std::string>& arguments : kTalkative) {
    INFO("klens " << Catch::Detail::stringify(arguments));
    Call call = how;
    call.arguments = arguments;
    const Outcome outcome = run(call);
    CHECK(outcome.code == 1);
    CHECK(is_one_error_line(outcome.err));
    CHECK_THAT(outcome.err, Catch::Contains("standard output"));
  }
}

}  // namespace

TEST_CASE("a full disk is an error") {
  Call call;
  call.output_to = "/dev/full";
  check_failures(call);
}

TEST_CASE("a closed standard output is an error") {
  Call call;
  call.close_output = true;
  check_failures(call);
}

TEST_CASE("a reader that went away is an error") {
  Call call;
  call.break_pipe = true;
  check_failures(call);
}

TEST_CASE("an output file on a full disk is an error") {
  const Folder folder;
  write_text(folder / "profile.json", profile_text());
  const Outcome outcome = run({"plan", folder / "profile.json", "--bpw", "6", "-o", "/dev/full"});
  CHECK(outcome.code == 1);
  CHECK(is_one_error_line(outcome.err));
}
