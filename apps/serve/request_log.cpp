#include "apps/serve/request_log.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <ctime>

#include "apps/cli/error.h"
#include "apps/cli/output.h"

namespace klens::apps {

RequestLog::RequestLog(const std::string& path) {
  if (path == "none") return;
  file_ = path.empty() ? ::dup(STDERR_FILENO)
                       : ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (file_ < 0 && !path.empty())
    throw Error(path + ": cannot be written to: " + std::strerror(errno));
}

RequestLog::~RequestLog() {
  if (file_ >= 0) ::close(file_);
}

void RequestLog::write(const Json& entry) {
  if (file_ < 0) return;
  const std::string line = compact(entry) + "\n";
  const std::lock_guard lock(mutex_);
  // A log that cannot be written (a full disk) is no reason not to answer.
  [[maybe_unused]] const ssize_t written = ::write(file_, line.data(), line.size());
}

std::string time_now() {
  const auto now = std::chrono::system_clock::now();
  const std::time_t seconds = std::chrono::system_clock::to_time_t(now);
  const auto milliseconds =
      std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count() % 1000;
  std::tm utc{};
  ::gmtime_r(&seconds, &utc);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &utc);
  return formatted("%s.%03dZ", text, static_cast<int>(milliseconds));
}

}  // namespace klens::apps
