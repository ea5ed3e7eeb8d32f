// mpirun klens profile: one file from several processes, and what is left of it when one is lost.
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <future>
#include <iostream>
#include <thread>

#include "tests/apps/run_program.h"
#include "tests/skipped.h"

using namespace klens::testing;

namespace {

const std::string kMpirun = KLENS_MPIRUN;

// Whether the program can be started so; says so where not.
bool has_mpirun() {
  if (!kMpirun.empty() && ::access(kMpirun.c_str(), X_OK) == 0) return true;
  std::cout << "skip: no mpirun here, or klens was built without MPI\n";
  skipped = true;
  return false;
}

// Through a shell, which leaves each rank's process id in folder/pid.RANK.
Outcome run_ranks(int count, const Folder& folder, const Words& arguments) {
  Call call;
  call.program = kMpirun;
  // Open MPI's names; others pass them over.
  for (const char* name : {"OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM",
                           "OMPI_MCA_rmaps_base_oversubscribe", "PRTE_ALLOW_RUN_AS_ROOT",
                           "PRTE_ALLOW_RUN_AS_ROOT_CONFIRM"})
    call.environment.emplace_back(name, "1");
  call.environment.emplace_back("OMPI_MCA_hwloc_base_binding_policy", "none");
  call.arguments = Words{"-n",
                         std::to_string(count),
                         "sh",
                         "-c",
                         "echo $$ > '" + folder / "pid." +
                             "'${OMPI_COMM_WORLD_RANK:-$PMI_RANK}; exec \"$0\" \"$@\"",
                         KLENS_PROGRAM} +
                   arguments;
  return run(call);
}

Words profile(const std::string& output, const Words& more = {}) {
  return Words{"profile", kModel, "-o", output, "-t", "1", "-q"} + more;
}

const Words kShort = {"--windows", "4", "-c", "64", "--formats", "int8,int4g64"};

// Lines of what the run has kept so far.
int64_t kept(const std::string& output) {
  if (!exists(output + ".partial")) return 0;
  const std::string text = read_text(output + ".partial");
  return std::count(text.begin(), text.end(), '\n');
}

}  // namespace

TEST_CASE("mpirun: two and three processes write the file of one", "[mpirun]") {
  if (!has_mpirun()) return;
  const Folder folder;
  const Words options = kShort + Words{"--validate", kSample};
  REQUIRE(run(profile(folder / "one.json", options)).code == 0);
  for (const int count : {2, 3}) {
    CAPTURE(count);
    const std::string output = folder / "many.json";
    const Outcome outcome = run_ranks(count, folder, profile(output, options));
    INFO(outcome.err);
    CHECK(outcome.code == 0);
    // One of them reports.
    const size_t said = outcome.out.find("written");
    CHECK(said != std::string::npos);
    CHECK(outcome.out.find("written", said + 1) == std::string::npos);
    CHECK(read_text(output) == read_text(folder / "one.json"));
    CHECK_FALSE(exists(output + ".partial"));
  }
}

TEST_CASE("mpirun: a lost process ends the run, and what was measured is kept", "[mpirun]") {
  if (!has_mpirun()) return;
  const Folder folder;
  const Words options = {"--windows", "16", "-c", "64", "--formats", "int8,int4g64"};
  REQUIRE(run(profile(folder / "one.json", options)).code == 0);
  for (const int lost : {1, 0}) {
    CAPTURE(lost);
    const std::string output = folder / "lost.json";
    auto running = std::async(std::launch::async,
                              [&] { return run_ranks(2, folder, profile(output, options)); });
    // Samples are 16 lines: more than that is of students.
    for (int i = 0; i < 6000 && kept(output) < 60; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    REQUIRE(kept(output) >= 60);
    REQUIRE(::kill(std::stoi(read_text(folder / "pid." + std::to_string(lost))), SIGKILL) == 0);
    const Outcome outcome = running.get();
    CHECK(outcome.code != 0);
    CHECK_FALSE(exists(output));
    const int64_t left = kept(output);
    REQUIRE(left >= 60);

    const Outcome resumed = run(profile(output, options + Words{"--resume"}));
    INFO(resumed.err);
    CHECK(resumed.code == 0);
    CHECK(read_text(output) == read_text(folder / "one.json"));
    ::unlink(output.c_str());
  }
}

TEST_CASE("mpirun: what fails says so once, whichever process it is", "[mpirun]") {
  if (!has_mpirun()) return;
  const Folder folder;
  const auto check = [&](const Words& arguments, int code, const std::string& says) {
    CAPTURE(arguments);
    const Outcome outcome = run_ranks(2, folder, arguments);
    INFO(outcome.err);
    CHECK(outcome.code == code);
    const size_t said = outcome.err.find("klens: error: ");
    REQUIRE(said != std::string::npos);
    CHECK_THAT(outcome.err.substr(said, outcome.err.find('\n', said) - said),
               Catch::Contains(says));
    CHECK(outcome.err.find("klens: error: ", said + 1) == std::string::npos);
  };
  check(profile(folder / "p.json", {"-f", folder / "none.txt"}), 1, "none.txt");
  check(profile(folder / "p.json", {"-f", "-"}), 2, "give a file");
  check(profile(folder / "none/p.json"), 1, "none");
  check({"inspect", kModel}, 2, "without mpirun");
  CHECK_FALSE(exists(folder / "p.json"));
}

TEST_CASE("several processes that were started as one job do not each do all of it") {
  const Folder folder;
  const auto started = [](const Words& arguments, const char* rank) {
    Call call;
    call.arguments = arguments;
    call.environment = {{"OMPI_COMM_WORLD_SIZE", "2"}, {"OMPI_COMM_WORLD_RANK", rank}};
    return run(call);
  };
  const Outcome inspect = started({"inspect", kModel}, "0");
  CHECK(inspect.code == 2);
  CHECK_THAT(inspect.err, Catch::Contains("start it without mpirun"));
  CHECK(started({"inspect", kModel}, "1").err == "");
  // Without MPI, or started by another launcher than the MPI's that klens has.
  const Outcome outcome = started(profile(folder / "p.json", kShort), "0");
  CHECK(outcome.code != 0);
  CHECK_THAT(outcome.err, Catch::StartsWith("klens: error: ") && Catch::Contains("2 processes"));
  CHECK_FALSE(exists(folder / "p.json"));
}
