#pragma once
#include <algorithm>
#include <chrono>
#include <functional>
#include <mutex>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"

namespace klens {

// What a job will take, as far as can be told when it begins.
struct Forecast {
  std::vector<std::pair<std::string_view, double>> stages;  // in their order, with their seconds
  int64_t bytes = 0;  // of memory that it holds at most, beside the model's file
};

// What a job tells while it runs.
struct ProgressReport {
  const char* stage = "";
  double fraction = 0;           // of the stage
  double seconds_left = -1;      // of the stage; negative while unknown
  double job_seconds_left = -1;  // of the stage and all after it; negative without a forecast
  int64_t job_bytes = 0;         // Forecast::bytes; 0 without one
};
// True asks the job to stop.
using ProgressFn = std::function<bool(const ProgressReport&)>;

// Counts the steps of a stage and passes them on, by default at most ten times a second. Safe to
// call from several threads. Throws Error (kInterrupted) from step() once the receiver asks to
// stop.
class Progress {
 public:
  explicit Progress(ProgressFn fn, std::chrono::milliseconds pause = std::chrono::milliseconds(100))
      : fn_(std::move(fn)), pause_(pause) {}

  // Told once; what is left of the whole job is reported from the next stage on.
  void expect(Forecast forecast) {
    const std::lock_guard lock(mutex_);
    forecast_ = std::move(forecast);
    at_ = 0;
  }

  // `done` of `total` steps were done before, by an interrupted run, and say nothing about speed.
  void stage(const char* name, double total, double done = 0) {
    const std::lock_guard lock(mutex_);
    name_ = name;
    total_ = std::max(total, 1e-9);
    done_ = first_ = done;
    begin_ = Clock::now();
    last_ = {};
    find_stage();
    report();
  }

  // The stage turns out to have so many steps.
  void expect_steps(double total) {
    const std::lock_guard lock(mutex_);
    total_ = std::max(total, 1e-9);
  }

  void step(double steps = 1) {
    const std::lock_guard lock(mutex_);
    done_ += steps;
    if (Clock::now() - last_ >= pause_) report();
  }

 private:
  using Clock = std::chrono::steady_clock;

  // A stage that the forecast lacks leaves what comes after it where it was.
  void find_stage() {
    for (size_t i = at_; i < forecast_.stages.size(); ++i)
      if (forecast_.stages[i].first == name_) {
        expected_ = forecast_.stages[i].second;
        at_ = i + 1;
        return;
      }
    expected_ = 0;
  }

  double job_seconds_left(double stage_left, double seconds) const {
    if (forecast_.stages.empty()) return -1;
    double left =
        stage_left >= 0 ? stage_left : std::max(0.0, expected_ * (1 - first_ / total_) - seconds);
    for (size_t i = at_; i < forecast_.stages.size(); ++i) left += forecast_.stages[i].second;
    return left;
  }

  void report() {
    if (!fn_) return;
    last_ = Clock::now();
    const double seconds = std::chrono::duration<double>(last_ - begin_).count();
    const double left = done_ > first_ ? seconds * (total_ - done_) / (done_ - first_) : -1;
    if (fn_({.stage = name_,
             .fraction = std::min(1.0, done_ / total_),
             .seconds_left = left,
             .job_seconds_left = job_seconds_left(left, seconds),
             .job_bytes = forecast_.bytes}))
      throw Error(ErrorKind::kInterrupted, std::string(name_) + ": interrupted");
  }

  ProgressFn fn_;
  std::chrono::milliseconds pause_;
  std::mutex mutex_;
  const char* name_ = "";
  double total_ = 1, done_ = 0, first_ = 0;
  Clock::time_point begin_, last_;
  Forecast forecast_;
  size_t at_ = 0;        // the stage of the forecast that follows
  double expected_ = 0;  // seconds of this one, by the forecast
};

}  // namespace klens
