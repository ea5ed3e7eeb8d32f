#pragma once
#include <csignal>

namespace klens::apps {

// While one of these lives, the first Ctrl-C only sets a mark that interrupted() reads; the second
// ends the program as if nothing had caught it, but for what write_when_killed() asks for.
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

// What a second Ctrl-C writes to standard error before it ends the program, where destructors do
// not run: what switches off a mode of the terminal. Borrowed; null: nothing.
void write_when_killed(const char* text);

}  // namespace klens::apps
