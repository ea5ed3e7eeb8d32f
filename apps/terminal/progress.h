#pragma once
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

#include "apps/terminal/interrupt.h"
#include "klens/klens.h"

namespace klens::apps {

// How far something is.
struct ProgressState {
  std::string stage;         // "perplexity"
  double fraction = -1;      // 0 to 1; negative while unknown
  double seconds = 0;        // since the stage began
  double seconds_left = -1;  // negative while unknown
};

// One line of at most `columns`: stage, bar, percent, times. What is narrow loses the bar first.
std::string progress_line(const ProgressState& state, size_t columns);

// Says on standard error what takes its time, while this object lives: one rewritten line on a
// terminal, from 0.3 s on and several times a second whether or not anybody reports; a line every
// 15 s elsewhere; nothing when quiet. Nothing else may write to the terminal meanwhile.
class StatusLine {
 public:
  StatusLine(bool quiet, std::string stage);
  ~StatusLine();  // clears the line
  StatusLine(const StatusLine&) = delete;
  StatusLine& operator=(const StatusLine&) = delete;

  // From any thread.
  void update(const std::string& stage, double fraction, double seconds_left = -1);
  // A line of its own.
  void note(const std::string& text);

 private:
  using Clock = std::chrono::steady_clock;
  void keep_alive() noexcept;
  void show_if_due(Clock::duration pause);
  void show(Clock::time_point now);

  const bool quiet_, terminal_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool ended_ = false, line_open_ = false;
  ProgressState state_;
  // Of this object, of the stage, of the last report, and of what was last shown.
  Clock::time_point begin_, stage_begin_, reported_, shown_;
  std::thread ticker_;
};

// A job of the library under a StatusLine, stopped by Ctrl-C.
class Progress {
 public:
  // stage: what is shown until the job reports for the first time.
  Progress(bool quiet, std::string stage) : line_(quiet, std::move(stage)) {}

  // For the progress and user fields of the library's options; user is this object.
  static int callback(void* user, const klens_progress* progress);

 private:
  InterruptScope interrupts_;
  StatusLine line_;
  bool forecast_told_ = false;
};

// "4 s", "3 min 20 s", "2 h 05 min"
std::string human_seconds(double seconds);

}  // namespace klens::apps
