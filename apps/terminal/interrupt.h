#pragma once
#include <csignal>

namespace klens::apps {

// While one of these lives, the first Ctrl-C only sets a mark that interrupted() reads; the second
// ends the program as if nothing had caught it.
class InterruptScope {
 public:
  InterruptScope();
  ~InterruptScope();
  InterruptScope(const InterruptScope&) = delete;
  InterruptScope& operator=(const InterruptScope&) = delete;

 private:
  struct sigaction before_ {};
};

bool interrupted();

}  // namespace klens::apps
