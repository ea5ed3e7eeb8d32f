#pragma once
#include <httplib.h>

#include <condition_variable>
#include <functional>
#include <list>
#include <mutex>
#include <thread>
#include <vector>

namespace klens::apps {

// A thread for every connection, up to `most`; others wait. httplib's own pool has as many threads
// as the machine has cores, and so many idle clients would stop the server.
class Workers : public httplib::TaskQueue {
 public:
  explicit Workers(size_t most) : most_(most) {}

  void enqueue(std::function<void()> task) override;
  void shutdown() override;  // waits for all that was enqueued

 private:
  void work();

  const size_t most_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::list<std::function<void()>> tasks_;
  size_t idle_ = 0;
  bool ending_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace klens::apps
