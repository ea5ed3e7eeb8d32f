#include "apps/terminal/interrupt.h"

#include <unistd.h>

#include <atomic>
#include <cstring>

namespace klens::apps {
namespace {

volatile std::sig_atomic_t marked = 0;
std::atomic<const char*> last_words = nullptr;
static_assert(std::atomic<const char*>::is_always_lock_free, "a signal handler reads it");

void mark_or_end(int signal) {
  if (marked == 0) {
    marked = 1;
    return;
  }
  // The default first: a terminal that takes nothing more must not keep a third from ending it.
  std::signal(signal, SIG_DFL);
  if (const char* text = last_words) {
    [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, text, std::strlen(text));
  }
  ::raise(signal);
}

}  // namespace

InterruptScope::InterruptScope() {
  marked = 0;
  struct sigaction action {};
  action.sa_handler = mark_or_end;
  // No SA_RESTART: a read from the terminal must notice.
  action.sa_flags = SA_NODEFER;
  sigaction(SIGINT, &action, &before_);
  // Started in the background by a shell: Ctrl-C belongs to others, as nohup and & promise.
  if (before_.sa_handler == SIG_IGN) sigaction(SIGINT, &before_, nullptr);
}

InterruptScope::~InterruptScope() { sigaction(SIGINT, &before_, nullptr); }

bool interrupted() { return marked != 0; }

void write_when_killed(const char* text) { last_words = text; }

}  // namespace klens::apps
