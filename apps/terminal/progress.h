#pragma once
#include <chrono>
#include <string>

#include "apps/terminal/interrupt.h"
#include "klens/klens.h"

namespace klens::apps {

// Shows a job's progress on standard error and passes Ctrl-C on to it: one rewritten line on a
// terminal, now and then a line elsewhere, nothing when quiet.
class Progress {
 public:
  explicit Progress(bool quiet);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // For the progress and user fields of the library's options; user is this object.
  static int callback(void* user, const klens_progress* progress);

 private:
  using Clock = std::chrono::steady_clock;
  void show(const klens_progress& progress);

  InterruptScope interrupts_;
  bool quiet_, terminal_;
  bool line_open_ = false;
  Clock::time_point last_;
};

// "4 s", "3 min 20 s", "2 h 05 min"
std::string human_seconds(double seconds);

}  // namespace klens::apps
