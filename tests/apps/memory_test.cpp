// A recurrent model's state has one size: reading more takes no more memory. A profile holds what
// it is allowed.
#include <catch2/catch.hpp>
#include <random>

#include "tests/apps/run_program.h"
#include "tests/testing.h"

using namespace klens::testing;

TEST_CASE("a prompt of 100,000 tokens takes the memory of one of 1,000", "[slow]") {
  const std::string model = shared_path("models/wiki-mamba2");
  if (model.empty()) return;
  const Folder folder;
  const auto peak = [&](int tokens) {
    std::mt19937 random(1);
    std::string ids;
    for (int i = 0; i < tokens; ++i) ids += std::to_string(random() % 4096) + " ";
    write_text(folder / "ids", ids);
    Call call;
    call.arguments = {"generate", model, "--ids", folder / "ids", "-n", "1", "-q", "-t", "2"};
    // glibc keeps up to some MiB of what was freed, more the longer it runs: not what klens needs.
    call.environment = {{"MALLOC_MMAP_THRESHOLD_", "131072"}};
    const Outcome outcome = run(call);
    REQUIRE(outcome.code == 0);
    return outcome.peak_bytes;
  };
  const int64_t few = peak(1000), many = peak(100000);
  std::cout << "wiki-mamba2: peak memory of 1,000 tokens " << few / 1024 << " KiB, of 100,000 "
            << many / 1024 << " KiB\n";
  CHECK(few > 8 << 20);  // the model itself: what was measured is klens
  // The ids, as text, as numbers and in the session, are some 20 bytes each.
  CHECK(many - few < 4 << 20);
}

TEST_CASE("a profile holds no more than --memory beside the model's file", "[slow]") {
  const std::string model = shared_path("models/wiki-mamba2");
  if (model.empty()) return;
  const Folder folder;
  const auto peak = [&](std::vector<std::string> arguments) {
    Call call;
    call.arguments = std::move(arguments);
    const Outcome outcome = run(call);
    INFO(outcome.err);
    REQUIRE(outcome.code == 0);
    return outcome.peak_bytes;
  };
  // The program with the whole file in memory.
  write_text(folder / "ids", "1");
  const int64_t base =
      peak({"generate", model, "--ids", folder / "ids", "-n", "1", "-q", "-t", "2"});
  std::vector<std::string> profile = {"profile",
                                      model,
                                      "-o",
                                      folder / "profile.json",
                                      "-q",
                                      "-t",
                                      "2",
                                      "-f",
                                      kModel + "/../own-text.txt",
                                      "--windows",
                                      "2",
                                      "--suffix",
                                      "fast",
                                      "--measured",
                                      "all"};
  const int64_t free = peak(profile);
  profile.insert(profile.end(), {"--memory", "52M"});
  const int64_t bound = peak(profile);
  std::cout << "wiki-mamba2: a profile holds " << (free - base) / 1024 << " KiB, with --memory 52M "
            << (bound - base) / 1024 << " KiB beside the model's file\n";
  CHECK(bound < free);
  CHECK(bound - base <= int64_t{52} << 20);
}
