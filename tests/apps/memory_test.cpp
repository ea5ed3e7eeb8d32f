// A recurrent model's state has one size: reading more takes no more memory.
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
