#include "apps/terminal/interrupt.h"

namespace klens::apps {
namespace {

volatile std::sig_atomic_t marked = 0;

void mark(int) { marked = 1; }

}  // namespace

InterruptScope::InterruptScope() {
  marked = 0;
  struct sigaction action {};
  action.sa_handler = mark;
  // Back to the default after the first. No SA_RESTART: a read from the terminal must notice.
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  sigaction(SIGINT, &action, &before_);
  // Started in the background by a shell: Ctrl-C belongs to others, as nohup and & promise.
  if (before_.sa_handler == SIG_IGN) sigaction(SIGINT, &before_, nullptr);
}

InterruptScope::~InterruptScope() { sigaction(SIGINT, &before_, nullptr); }

bool interrupted() { return marked != 0; }

}  // namespace klens::apps
