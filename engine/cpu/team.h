#pragma once
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace klens {

// Threads that stay awake between the steps of a pass. Decoding one token is some hundred steps of
// microseconds each, with a dependency between any two: waking threads by the operating system, or
// finding them work by stealing, costs as much as the steps (bench/RESULTS.md, "Threads"). Long and
// uneven jobs are oneTBB's (CpuDevice::run_jobs).
//
// More threads must not be slower than one, on a machine with other work either. Parts are claimed
// one by one, so a thread that the machine has taken away delays nothing but the part that it
// holds; and when the caller has waited long for such a part, it works alone for a while.
class Team {
 public:
  // Starts threads - 1 workers; the caller is the last.
  explicit Team(int threads);
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  // body(part) for every part in [0, parts), and returns when all are done. parts < 2^20. While
  // another thread has the team, the caller does its parts alone. If bodies throw, the first
  // exception is thrown on, after the other parts.
  template <class Body>
  void run(int64_t parts, const Body& body) {
    run_parts(
        parts, [](const void* b, int64_t part) { (*static_cast<const Body*>(b))(part); }, &body);
  }

 private:
  using Call = void(const void*, int64_t);
  using Clock = std::chrono::steady_clock;
  void run_parts(int64_t parts, Call* call, const void* body);
  void start(int64_t parts, Call* call, const void* body);
  void wait_for(int64_t parts, Clock::time_point begin, int64_t own);
  bool work_one();
  void work();
  void end();  // of all workers

  // The job: its number of parts (high 32 bits) and the next one to claim. One word, so that a
  // claim is valid for the job it was read from.
  alignas(64) std::atomic<uint64_t> ticket_{0};
  alignas(64) std::atomic<int64_t> done_{0};  // parts of the job that are finished
  alignas(64) std::atomic<int> asleep_{0};
  std::atomic<bool> busy_{false}, ending_{false};
  // Of the job; written before the ticket, read only by holders of one of its parts.
  Call* call_ = nullptr;
  const void* body_ = nullptr;
  Clock::time_point alone_until_{};  // the caller's
  std::exception_ptr error_;
  std::mutex mutex_;  // guards error_ and falling asleep
  std::condition_variable wake_;
  std::vector<std::thread> workers_;
};

}  // namespace klens
