#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/thread_owned.h"
#include "engine/cpu/step_clock.h"
#include "engine/cpu/team.h"

namespace klens {

// How an operation's independent parts are spread over threads. What is computed never depends on
// it: parts write disjoint outputs and nothing is reduced across them, so any thread count gives
// equal bits.
class Executor {
 public:
  // team: null, and everything runs in the caller; else `threads` of them, the caller included.
  explicit Executor(Team* team = nullptr, int threads = 1, StepClock* clock = nullptr)
      : team_(team), threads_(threads), clock_(clock) {}

  int threads() const { return threads_; }
  StepClock* clock() const { return clock_; }

  // body(begin, end) over [0, count). `work` is a rough number of operations per item: little work
  // stays in the caller, because handing it over and waiting for it costs half a microsecond.
  // Threads begin with one large part each, where memory streams longest, and share the rest in
  // small ones, so that they end together.
  template <class Body>
  void ranges(int64_t count, int64_t work, const Body& body) const {
    constexpr int64_t kWorthAPart = 16'000, kSmallParts = 4;  // a thread
    const int64_t worth = std::max<int64_t>(1, count * std::max<int64_t>(work, 1) / kWorthAPart);
    const int64_t all = std::min(count, worth), shares = 2 * kSmallParts * threads_;
    if (team_ == nullptr || all <= 1) {
      if (count > 0) body(int64_t{0}, count);
      return;
    }
    // In shares of the whole: a large part has kSmallParts of them, a small one has one.
    const bool both = all >= shares;
    const int64_t parts =
        both ? (kSmallParts + 1) * threads_ : std::min(all, threads_ * kSmallParts);
    const auto edge = [&](int64_t part) {
      if (!both) return count * part / parts;
      const int64_t large = std::min<int64_t>(part, threads_);
      return count * (large * kSmallParts + part - large) / shares;
    };
    team_->run(parts, [&](int64_t part) { body(edge(part), edge(part + 1)); });
  }

 private:
  Team* team_;
  int threads_;
  StepClock* clock_;
};

// Working memory of one part of an operation, the calling thread's own: at least count floats,
// uninitialised, until this thread asks again for the same use, which a type names.
template <class Use = struct AnyUse>
float* thread_work(int64_t count) {
  struct Floats : std::vector<float> {};
  auto& work = thread_owned<Floats>();
  if (work.size() < static_cast<size_t>(count)) work.resize(static_cast<size_t>(count));
  return work.data();
}

}  // namespace klens
