#pragma once
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>

namespace klens {

// What a pass spends its time on.
enum class Step { kLinear, kQuantize, kScan, kConv, kAttention, kNorm, kElementwise };
inline constexpr int kSteps = 7;
inline constexpr const char* kStepNames[kSteps] = {"linear",    "quantise", "scan",       "conv1d",
                                                   "attention", "norm",     "elementwise"};

// What a device that has kernels of its own to tell of, and moves memory, took for one of them.
struct KernelTime {
  int64_t launches = 0, nanoseconds = 0;
};

// Nanoseconds by step, summed over all threads. What of threads x wall time is not here is
// synchronisation, and whatever is too small to be timed.
class StepClock {
 public:
  void add(Step step, int64_t nanoseconds) {
    spent_[static_cast<size_t>(step)].fetch_add(nanoseconds, std::memory_order_relaxed);
  }
  int64_t spent(int step) const {
    return spent_[static_cast<size_t>(step)].load(std::memory_order_relaxed);
  }
  void add_kernel(const std::string& name, int64_t nanoseconds) {
    const std::lock_guard lock(mutex_);
    KernelTime& time = kernels_[name];
    ++time.launches;
    time.nanoseconds += nanoseconds;
  }
  std::map<std::string, KernelTime> kernels() const {
    const std::lock_guard lock(mutex_);
    return kernels_;
  }

 private:
  std::array<std::atomic<int64_t>, kSteps> spent_{};
  mutable std::mutex mutex_;  // of kernels_
  std::map<std::string, KernelTime> kernels_;
};

// Counts its own life as a step's; nothing where there is no clock.
class Timed {
 public:
  Timed(StepClock* clock, Step step) : clock_(clock), step_(step) {
    if (clock_ != nullptr) begin_ = std::chrono::steady_clock::now();
  }
  ~Timed() {
    if (clock_ == nullptr) return;
    const auto spent = std::chrono::steady_clock::now() - begin_;
    clock_->add(step_, std::chrono::duration_cast<std::chrono::nanoseconds>(spent).count());
  }
  Timed(const Timed&) = delete;
  Timed& operator=(const Timed&) = delete;

 private:
  StepClock* clock_;
  Step step_;
  std::chrono::steady_clock::time_point begin_;
};

}  // namespace klens
