// A result that cannot be written is a failure, never a crash and never a silent success.
#include <fcntl.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <csignal>
#include <filesystem>

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

TEST_CASE("a limit on files' sizes is an error, and nothing is left") {
  const Folder folder;
  rlimit whole{};
  REQUIRE(::getrlimit(RLIMIT_FSIZE, &whole) == 0);
  const rlimit small{1 << 20, whole.rlim_max};
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &small) == 0);
  const Outcome outcome = run(
      {"quantize", kModel, "-o", folder / "x.klens", "--uniform", "int8", "--no-measure", "-q"});
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &whole) == 0);
  CHECK(outcome.code == 1);
  CHECK(is_one_error_line(outcome.err));
  CHECK_THAT(outcome.err, Catch::Contains("x.klens: cannot write"));
  CHECK(std::filesystem::is_empty(folder / ""));
}

TEST_CASE("an output that is an input is refused before any work, whatever its name") {
  namespace fs = std::filesystem;
  const Folder folder;
  const std::string model = folder / "m.klens", text = folder / "text.txt",
                    ids = folder / "ids.txt", profile = folder / "profile.json",
                    plan = folder / "plan.json", checkpoint = folder / "checkpoint";
  REQUIRE(run({"quantize", kModel, "-o", model, "--uniform", "int8", "--no-measure", "-q"}).code ==
          0);
  fs::create_directories(checkpoint);
  for (const auto& entry : fs::directory_iterator(kModel)) {
    // As a hub's cache does: names that point to files elsewhere.
    if (entry.is_regular_file())
      fs::create_symlink(fs::canonical(entry.path()),
                         checkpoint + "/" + entry.path().filename().string());
  }
  write_text(text, std::string(4000, 'a'));
  write_text(ids, "1 2 3");
  write_text(profile, profile_text());
  REQUIRE(run({"plan", profile, "--bpw", "6", "-o", plan}).code == 0);
  fs::create_symlink("m.klens", folder / "link.klens");
  fs::create_hard_link(model, folder / "hard.klens");
  fs::create_symlink(fs::canonical(kModel + "/model.safetensors"), folder / "weights");
  fs::create_symlink("text.txt", folder / "text");
  const std::vector<Words> calls = {
      {"quantize", model, "--uniform", "int8", "-o", model},
      {"quantize", model, "--uniform", "int8", "-o", folder / "link.klens"},
      {"quantize", model, "--uniform", "int8", "-o", folder / "hard.klens"},
      {"quantize", checkpoint, "--bpw", "6", "-o", folder / "weights"},
      {"quantize", model, "--bpw", "6", "-f", text, "-o", folder / "text"},
      {"quantize", model, "--plan", plan, "-o", folder / "./plan.json"},
      {"profile", model, "-o", folder / "hard.klens"},
      {"profile", checkpoint, "-o", checkpoint + "/config.json"},
      {"profile", model, "-f", text, "-o", text},
      {"plan", profile, "--bpw", "6", "-o", profile},
      {"logits", model, "--ids", ids, "-o", ids},
      {"logits", checkpoint, "--ids", ids, "-o", checkpoint + "/model.safetensors"},
      {"bench", model, "--sweep", "length", "--svg", folder / "link.klens"}};
  std::vector<std::string> before;
  const Words files = {
      model, text, ids, profile, plan, kModel + "/model.safetensors", kModel + "/config.json"};
  for (const std::string& file : files) before.push_back(read_text(file));
  for (const Words& call : calls) {
    INFO("klens " << Catch::Detail::stringify(call));
    const auto begin = std::chrono::steady_clock::now();
    const Outcome outcome = run(call);
    CHECK(outcome.code == 1);
    CHECK(is_one_error_line(outcome.err));
    CHECK_THAT(outcome.err,
               Catch::Contains("is the file that is read") || Catch::Contains("is another format"));
    CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(5));
  }
  for (size_t i = 0; i < files.size(); ++i) CHECK(read_text(files[i]) == before[i]);

  // What /save writes is two files; neither may be the model's.
  Call chat{.arguments = {"chat", model},
            .input = "Hello\n/save " + (folder / "hard.klens") + "\n"};
  chat.arguments.insert(chat.arguments.end(), {"-n", "2"});
  CHECK(run(chat).code == 1);
  CHECK(read_text(model) == before[0]);
  chat = {.arguments = {"chat", checkpoint, "-n", "2"},
          .input = "Hello\n/save " + checkpoint + "/config\n"};
  CHECK(run(chat).code == 1);
  CHECK_FALSE(exists(checkpoint + "/config"));
}

TEST_CASE("what must be written whole does not go to standard output") {
  const Folder folder;
  write_text(folder / "ids", "1 2 3");
  check_failure({"quantize", kModel, "-o", "-", "--uniform", "int8", "--no-measure"},
                "standard output");
  check_failure({"logits", kModel, "--ids", folder / "ids", "-o", "-"}, "standard output");
  CHECK_FALSE(exists("-"));
}

TEST_CASE("an output that is a link is written through") {
  namespace fs = std::filesystem;
  const Folder folder;
  write_text(folder / "profile.json", profile_text());
  write_text(folder / "there.json", "old");
  fs::create_symlink("there.json", folder / "link.json");
  REQUIRE(run({"plan", folder / "profile.json", "--bpw", "6", "-o", folder / "link.json"}).code ==
          0);
  CHECK(fs::is_symlink(folder / "link.json"));
  CHECK_THAT(read_text(folder / "there.json"), Catch::Contains("klens_plan"));
  // As `-o /dev/stdout > file`: the plan, and what is printed behind it.
  Call call{.arguments = {"plan", folder / "profile.json", "--bpw", "6", "-o", "/dev/stdout"},
            .input = ""};
  write_text(folder / "file", "");
  call.output_to = folder / "file";
  REQUIRE(run(call).code == 0);
  CHECK(fs::is_symlink("/dev/stdout"));
  CHECK_THAT(read_text(folder / "file"), Catch::StartsWith("{") && Catch::Contains("klens_plan") &&
                                             Catch::Contains("predicted KL"));
}

TEST_CASE("what cannot be met or written is said before anything is measured") {
  const Folder folder;
  const std::string big = folder / "m.klens";
  // So many windows that measuring them would take hours.
  const std::vector<std::string> measuring = {"--windows", "100000", "-q"};
  const auto at_once = [&](std::vector<std::string> call, const char* words) {
    Call timed{.arguments = std::move(call) + measuring, .input = ""};
    timed.signal = SIGKILL;
    timed.signal_after = std::chrono::seconds(20);
    const Outcome outcome = run(timed);
    INFO("klens " << Catch::Detail::stringify(timed.arguments) << outcome.err);
    CHECK(outcome.code == 1);
    CHECK(is_one_error_line(outcome.err));
    CHECK_THAT(outcome.err, Catch::Contains(words));
  };
  at_once({"quantize", kModel, "-o", big, "--size", "100K"}, "cannot be met");
  // All formats there are were in already.
  at_once({"quantize", kModel, "-o", big, "--size", "100K"}, "; allow more bytes\n");
  at_once({"quantize", kModel, "-o", big, "--bpw", "2"}, "cannot be met");
  at_once({"quantize", kModel, "-o", big, "--bpw", "4", "--formats", "int8,int4g64"},
          "measure smaller --formats");
  at_once({"quantize", kModel, "-o", big, "--bpw", "5", "--tensor-type", ".*=fp16"},
          "cannot be met");
  at_once({"quantize", kModel, "-o", big, "--bpw", "5", "--tensor-type", "nothing=fp16"},
          "matches no unit");
  for (const char* command : {"quantize", "profile"}) {
    std::vector<std::string> aim = {command, kModel};
    if (std::string(command) == "quantize") aim = aim + std::vector<std::string>{"--bpw", "5"};
    const auto to = [&](const std::string& path) {
      return aim + std::vector<std::string>{"-o", path};
    };
    at_once(to(folder / "none/out"), "name a file in a folder that is there");
    at_once(to(folder / "out.gguf"), "another format");
    at_once(to(folder / "out.safetensors"), "another format");
    at_once(to("/proc/out"), "cannot write");
  }
}

TEST_CASE("what a full disk leaves is named, and gone on from") {
  const Folder folder;
  const std::string output = folder / "p.json";
  std::string line = std::string("ulimit -f 2; exec '") + KLENS_PROGRAM + "' profile '" + kModel +
                     "' -o '" + output + "'";
  for (const std::string& option : short_run()) line += " " + option;
  Call call;
  call.program = "/bin/bash";
  call.arguments = {"-c", line};
  const Outcome outcome = run(call);
  CHECK(outcome.code == 1);
  CHECK(is_one_error_line(outcome.err));
  CHECK_THAT(outcome.err, Catch::Contains("File too large") && Catch::Contains("--resume") &&
                              Catch::Contains(output + ".partial"));
  REQUIRE(exists(output + ".partial"));
  CHECK_FALSE(exists(output));
  CHECK(run(std::vector<std::string>{"profile", kModel, "-o", output, "--resume"} + short_run())
            .code == 0);
  CHECK(nlohmann::json::parse(read_text(output)) == nlohmann::json::parse(profile_text()));
}

TEST_CASE("what a killed run left is removed by the next, but not what one is writing") {
  const Folder folder;
  write_text(folder / "profile.json", profile_text());
  write_text(folder / "plan.json.tmp-1-0", "half a p");
  write_text(folder / "plan.json.tmp-99999999-3", "half a p");
  write_text(folder / "plan.json.tmp-mine", "not klens's");
  write_text(folder / "other.json.tmp-1-0", "another file's");
  const std::string held = folder / "plan.json.tmp-2-0";
  write_text(held, "being written");
  const int fd = ::open(held.c_str(), O_WRONLY);
  REQUIRE(::flock(fd, LOCK_EX) == 0);
  const std::vector<std::string> call = {"plan", folder / "profile.json", "--bpw", "6",
                                         "-o",   folder / "plan.json"};
  CHECK(run(call).code == 0);
  CHECK_FALSE(exists(folder / "plan.json.tmp-1-0"));
  CHECK_FALSE(exists(folder / "plan.json.tmp-99999999-3"));
  CHECK(exists(folder / "plan.json.tmp-mine"));
  CHECK(exists(folder / "other.json.tmp-1-0"));
  CHECK(exists(held));
  ::close(fd);
  CHECK(run(call).code == 0);
  CHECK_FALSE(exists(held));
}
