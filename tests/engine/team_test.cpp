#include "engine/cpu/team.h"

#include <catch2/catch.hpp>
#include <chrono>
#include <numeric>
#include <stdexcept>
#include <thread>
#include <vector>

#include "engine/cpu/executor.h"

namespace klens {
namespace {

TEST_CASE("team: every part is done once, job after job", "[team]") {
  for (const int threads : {1, 2, 3, 7}) {
    Team team(threads);
    for (int job = 0; job < 2000; ++job) {
      std::vector<int> done(static_cast<size_t>(job % 37 + 1), 0);
      team.run(static_cast<int64_t>(done.size()),
               [&](int64_t part) { done[static_cast<size_t>(part)] += job + 1; });
      for (const int d : done) REQUIRE(d == job + 1);
    }
  }
}

TEST_CASE("team: workers that have fallen asleep wake for a job", "[team]") {
  Team team(2);
  // Not at once, perhaps: on a busy machine the caller works alone for a while.
  bool helped = false;
  for (int job = 0; job < 200 && !helped; ++job) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    std::atomic<int> others{0};
    const std::thread::id caller = std::this_thread::get_id();
    team.run(4, [&](int64_t) {
      if (std::this_thread::get_id() != caller) others.fetch_add(1);
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    });
    helped = others > 0;
  }
  CHECK(helped);
}

TEST_CASE("team: an exception of a part reaches the caller after the others", "[team]") {
  Team team(2);
  std::atomic<int> done{0};
  const auto fail = [&] {
    team.run(16, [&](int64_t part) {
      if (part == 3) throw std::runtime_error("part 3");
      done.fetch_add(1);
    });
  };
  CHECK_THROWS_WITH(fail(), "part 3");
  CHECK(done == 15);
  team.run(4, [&](int64_t) { done.fetch_add(1); });
  CHECK(done == 19);
}

TEST_CASE("team: callers at once, and jobs within jobs, get all their parts done", "[team]") {
  Team team(2);
  std::atomic<int64_t> sum{0};
  const auto call = [&] {
    for (int job = 0; job < 500; ++job)
      team.run(4, [&](int64_t) { team.run(3, [&](int64_t part) { sum.fetch_add(part); }); });
  };
  std::thread other(call);
  call();
  other.join();
  CHECK(sum == int64_t{2} * 500 * 4 * 3);
}

TEST_CASE("executor: ranges cover everything once, whatever their number", "[team]") {
  Team team(3);
  for (const int64_t count : {0, 1, 2, 11, 12, 13, 1000})
    for (const int64_t work : {1, 1000, 1'000'000}) {
      std::vector<int> seen(static_cast<size_t>(count), 0);
      Executor(&team, 3).ranges(count, work, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) ++seen[static_cast<size_t>(i)];
      });
      CHECK(std::accumulate(seen.begin(), seen.end(), int64_t{0}) == count);
      for (const int s : seen) CHECK(s == 1);
    }
}

}  // namespace
}  // namespace klens
