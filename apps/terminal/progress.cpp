#include "apps/terminal/progress.h"

#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <system_error>

#include "apps/cli/output.h"
#include "apps/terminal/style.h"
#include "apps/terminal/text.h"

namespace klens::apps {
namespace {

constexpr std::chrono::milliseconds kFirst{300};  // what is done sooner is not shown
constexpr std::chrono::milliseconds kReportPause{100}, kTick{250};
constexpr std::chrono::seconds kLogPause{15};
constexpr size_t kWidestBar = 24, kNarrowestBar = 6;
constexpr size_t kWidestStage = 30, kUsualStage = 12;

// The last column stays free: writing into it makes some terminals go to the next line.
size_t usable_columns() {
  winsize size{};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 79;
  return size.ws_col - 1u;
}

std::string times(const ProgressState& state) {
  const std::string elapsed = human_seconds(std::floor(state.seconds));
  if (state.seconds_left < 0) return elapsed;
  return elapsed + ", " + human_seconds(state.seconds_left) + " left";
}

std::string percent(const ProgressState& state) {
  return formatted("%3.0f %%", 100 * std::clamp(state.fraction, 0.0, 1.0));
}

// The thread takes no signals: a Ctrl-C must interrupt what the program reads.
std::thread start_quietly(std::function<void()> body) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  std::thread thread;
  try {
    thread = std::thread(std::move(body));
  } catch (const std::system_error&) {
    // No thread is to be had: only reports are shown.
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return thread;
}

}  // namespace

std::string progress_line(const ProgressState& state, size_t columns) {
  std::string stage = cut_to_columns(state.stage, kWidestStage);
  if (state.fraction < 0) return cut_to_columns(stage + "  " + times(state), columns);
  const std::string end = " " + percent(state) + "  " + times(state);
  const size_t width = columns_of(stage);
  if (width < kUsualStage) stage.append(kUsualStage - width, ' ');
  const size_t taken = columns_of(stage) + 3 + columns_of(end);  // a space and the brackets
  const size_t room = columns > taken ? std::min(columns - taken, kWidestBar) : 0;
  if (room < kNarrowestBar)
    return cut_to_columns(cut_to_columns(state.stage, kWidestStage) + end, columns);
  const auto filled =
      static_cast<size_t>(std::clamp(state.fraction, 0.0, 1.0) * static_cast<double>(room));
  return stage + " [" + std::string(filled, '#') + std::string(room - filled, '.') + "]" + end;
}

StatusLine::StatusLine(bool quiet, std::string stage)
    : quiet_(quiet),
      terminal_(can_rewrite_lines(STDERR_FILENO)),
      begin_(Clock::now()),
      stage_begin_(begin_),
      reported_(begin_),
      shown_(begin_) {
  state_.stage = std::move(stage);
  if (!quiet_) ticker_ = start_quietly([this] { keep_alive(); });
}

StatusLine::~StatusLine() {
  {
    const std::lock_guard lock(mutex_);
    ended_ = true;
  }
  wake_.notify_all();
  if (ticker_.joinable()) ticker_.join();
  if (line_open_) std::fputs("\r\033[K", stderr);
}

void StatusLine::keep_alive() noexcept {
  std::unique_lock lock(mutex_);
  while (!wake_.wait_for(lock, kTick, [this] { return ended_; })) {
    try {
      show_if_due(kTick);
    } catch (const std::exception&) {
      return;  // no memory for a line: what is being done fails soon, and says so
    }
  }
}

void StatusLine::update(const std::string& stage, double fraction, double seconds_left) {
  if (quiet_) return;
  const std::lock_guard lock(mutex_);
  reported_ = Clock::now();
  if (stage != state_.stage) stage_begin_ = reported_;
  state_.stage = stage;
  state_.fraction = fraction;
  state_.seconds_left = seconds_left;
  show_if_due(kReportPause);
}

void StatusLine::note(const std::string& text) {
  if (quiet_) return;
  const std::lock_guard lock(mutex_);
  std::fprintf(stderr, "%s%s\n", line_open_ ? "\r\033[K" : "", text.c_str());
  line_open_ = false;
}

// Under mutex_.
void StatusLine::show_if_due(Clock::duration pause) {
  const Clock::time_point now = Clock::now();
  if (terminal_ ? now - begin_ < kFirst || (line_open_ && now - shown_ < pause)
                : now - shown_ < kLogPause)
    return;
  show(now);
}

void StatusLine::show(Clock::time_point now) {
  const auto seconds = [](Clock::duration d) { return std::chrono::duration<double>(d).count(); };
  ProgressState state = state_;
  state.seconds = seconds(now - stage_begin_);
  if (state.seconds_left >= 0)
    state.seconds_left = std::max(0.0, state.seconds_left - seconds(now - reported_));
  shown_ = now;
  if (terminal_) {
    std::fprintf(stderr, "\r\033[K%s", progress_line(state, usable_columns()).c_str());
    std::fflush(stderr);
    line_open_ = true;
  } else {
    const std::string done = state.fraction < 0 ? "" : percent(state) + "  ";
    std::fprintf(stderr, "%s: %s%s\n", state.stage.c_str(),
                 done.substr(std::min(done.find_first_not_of(' '), done.size())).c_str(),
                 times(state).c_str());
  }
}

int Progress::callback(void* user, const klens_progress* progress) {
  auto* self = static_cast<Progress*>(user);
  const bool forecast = progress->job_seconds_left >= 0;
  if (forecast && !std::exchange(self->forecast_told_, true))
    self->line_.note("about " + human_seconds(progress->job_seconds_left) + ", and " +
                     human_bytes(static_cast<double>(progress->job_bytes)) +
                     " of memory beside the model's file");
  self->line_.update(progress->stage != nullptr ? progress->stage : "",
                     std::clamp(progress->fraction, 0.0, 1.0),
                     forecast ? progress->job_seconds_left : progress->seconds_left);
  return interrupted() ? 1 : 0;
}

std::string human_seconds(double seconds) {
  const auto whole = static_cast<long long>(std::ceil(std::min(std::max(seconds, 0.0), 1e9)));
  if (whole < 60) return formatted("%lld s", whole);
  if (whole < 3600) return formatted("%lld min %02lld s", whole / 60, whole % 60);
  return formatted("%lld h %02lld min", whole / 3600, whole % 3600 / 60);
}

}  // namespace klens::apps
