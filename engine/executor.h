#pragma once
#include <tbb/parallel_for.h>

#include <algorithm>
#include <cstdint>
#include <vector>

namespace klens {

// How an operation's independent parts are spread over threads. What is computed never depends on
// it: parts write disjoint outputs and nothing is reduced across them, so any thread count gives
// equal bits.
class Executor {
 public:
  // threads == 1: everything runs in the caller. Otherwise inside the tbb arena of the caller.
  explicit Executor(int threads) : threads_(threads) {}

  int threads() const { return threads_; }

  // body(begin, end) over [0, count). `work` is a rough number of operations per item: little work
  // stays in the caller, because waking a thread costs microseconds.
  template <class Body>
  void ranges(int64_t count, int64_t work, const Body& body) const {
    constexpr int64_t kWorthAThread = 200'000;
    const int64_t worth = std::max<int64_t>(1, count * std::max<int64_t>(work, 1) / kWorthAThread);
    const int64_t parts = std::min({count, worth, int64_t{threads_} * 4});
    if (threads_ == 1 || parts <= 1) {
      if (count > 0) body(int64_t{0}, count);
      return;
    }
    tbb::parallel_for(int64_t{0}, parts, [&](int64_t part) {
      body(count * part / parts, count * (part + 1) / parts);
    });
  }

 private:
  int threads_;
};

// Working memory of one part of an operation, the calling thread's own: at least count floats,
// uninitialised, until this thread asks again.
inline float* thread_work(int64_t count) {
  thread_local std::vector<float> work;
  if (work.size() < static_cast<size_t>(count)) work.resize(static_cast<size_t>(count));
  return work.data();
}

}  // namespace klens
