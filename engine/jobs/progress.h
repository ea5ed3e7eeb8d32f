#pragma once
#include <algorithm>
#include <chrono>
#include <functional>
#include <mutex>

#include "base/error.h"

namespace klens {

// What a job tells while it runs: stage, fraction done, seconds left (negative while unknown). True
// asks it to stop.
using ProgressFn = std::function<bool(const char* stage, double fraction, double seconds_left)>;

// Counts the steps of a stage and passes them on, by default at most ten times a second. Safe to
// call from several threads. Throws Error (kInterrupted) from step() once the receiver asks to
// stop.
class Progress {
 public:
  explicit Progress(ProgressFn fn, std::chrono::milliseconds pause = std::chrono::milliseconds(100))
      : fn_(std::move(fn)), pause_(pause) {}

  // `done` of `total` steps were done before, by an interrupted run, and say nothing about speed.
  void stage(const char* name, double total, double done = 0) {
    const std::lock_guard lock(mutex_);
    name_ = name;
    total_ = std::max(total, 1e-9);
    done_ = first_ = done;
    begin_ = Clock::now();
    last_ = {};
    report();
  }

  void step(double steps = 1) {
    const std::lock_guard lock(mutex_);
    done_ += steps;
    if (Clock::now() - last_ >= pause_) report();
  }

 private:
  using Clock = std::chrono::steady_clock;

  void report() {
    if (!fn_) return;
    last_ = Clock::now();
    const double seconds = std::chrono::duration<double>(last_ - begin_).count();
    const double left = done_ > first_ ? seconds * (total_ - done_) / (done_ - first_) : -1;
    if (fn_(name_, std::min(1.0, done_ / total_), left))
      throw Error(ErrorKind::kInterrupted, std::string(name_) + ": interrupted");
  }

  ProgressFn fn_;
  std::chrono::milliseconds pause_;
  std::mutex mutex_;
  const char* name_ = "";
  double total_ = 1, done_ = 0, first_ = 0;
  Clock::time_point begin_, last_;
};

}  // namespace klens
