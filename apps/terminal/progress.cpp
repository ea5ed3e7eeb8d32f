#include "apps/terminal/progress.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "apps/cli/output.h"
#include "apps/terminal/style.h"

namespace klens::apps {
namespace {

constexpr std::chrono::milliseconds kTerminalPause{100};
constexpr std::chrono::seconds kLogPause{15};
constexpr int kBarWidth = 24;

}  // namespace

Progress::Progress(bool quiet)
    : quiet_(quiet), terminal_(is_terminal(STDERR_FILENO)), last_(Clock::now()) {}

Progress::~Progress() {
  if (line_open_) std::fputs("\r\033[K", stderr);
}

int Progress::callback(void* user, const klens_progress* progress) {
  auto* self = static_cast<Progress*>(user);
  if (!self->quiet_) self->show(*progress);
  return interrupted() ? 1 : 0;
}

void Progress::show(const klens_progress& progress) {
  const Clock::time_point now = Clock::now();
  const bool first_on_terminal = terminal_ && !line_open_;
  if (!first_on_terminal && now - last_ < (terminal_ ? Clock::duration(kTerminalPause) : kLogPause))
    return;
  last_ = now;
  const double fraction = std::clamp(progress.fraction, 0.0, 1.0);
  const std::string stage = progress.stage != nullptr ? progress.stage : "";
  const std::string left =
      progress.seconds_left < 0 ? "" : "  " + human_seconds(progress.seconds_left) + " left";
  if (terminal_) {
    const auto filled = static_cast<size_t>(fraction * kBarWidth);
    const std::string bar = std::string(filled, '#') + std::string(kBarWidth - filled, '.');
    std::fprintf(stderr, "\r\033[K%-12.30s [%s] %3.0f %%%s", stage.c_str(), bar.c_str(),
                 100 * fraction, left.c_str());
    std::fflush(stderr);
    line_open_ = true;
  } else {
    std::fprintf(stderr, "%s: %.0f %%%s\n", stage.c_str(), 100 * fraction, left.c_str());
  }
}

std::string human_seconds(double seconds) {
  const auto whole = static_cast<long long>(std::ceil(std::min(std::max(seconds, 0.0), 1e9)));
  if (whole < 60) return formatted("%lld s", whole);
  if (whole < 3600) return formatted("%lld min %02lld s", whole / 60, whole % 60);
  return formatted("%lld h %02lld min", whole / 3600, whole % 3600 / 60);
}

}  // namespace klens::apps
