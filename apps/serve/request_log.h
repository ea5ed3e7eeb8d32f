#pragma once
#include <memory>
#include <mutex>
#include <string>

#include "apps/serve/fields.h"

namespace klens::apps {

// A line of JSON for each request, in one write.
class RequestLog {
 public:
  // path: a file to add to; "": standard error; "none": nowhere. Throws Error.
  explicit RequestLog(const std::string& path);
  ~RequestLog();
  RequestLog(const RequestLog&) = delete;
  RequestLog& operator=(const RequestLog&) = delete;

  void write(const Json& entry);

 private:
  int file_ = -1;
  std::mutex mutex_;
};

// "2026-03-01T12:00:00.123Z"
std::string time_now();

}  // namespace klens::apps
