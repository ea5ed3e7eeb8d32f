#include "tests/apps/run_on_terminal.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <stdexcept>

namespace klens::testing {
namespace {

using TerminalClock = std::chrono::steady_clock;

constexpr std::chrono::seconds kTerminalPatience{300};

int opened(int fd, const char* what) {
  if (fd < 0) throw std::runtime_error(what);
  return fd;
}

[[noreturn]] void become_klens(const TerminalCall& call, const char* terminal, int out) {
  ::setsid();
  const int tty = ::open(terminal, O_RDWR);  // the first one opened is the session's own
  ::ioctl(tty, TIOCSCTTY, 0);
  ::dup2(tty, STDIN_FILENO);
  ::dup2(call.output_on_screen ? tty : out, STDOUT_FILENO);
  ::dup2(call.errors_on_screen ? tty : ::open("/dev/null", O_WRONLY), STDERR_FILENO);
  for (int fd = STDERR_FILENO + 1; fd < 64; ++fd) ::close(fd);
  for (const char* name : {"LANG", "LC_ALL", "LC_CTYPE", "LANGUAGE", "COLUMNS", "LINES"})
    ::unsetenv(name);
  ::setenv("TERM", "xterm", 1);
  for (const auto& [name, value] : call.environment) ::setenv(name.c_str(), value.c_str(), 1);
  std::vector<char*> argv = {const_cast<char*>("klens")};
  for (const std::string& argument : call.arguments)
    argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  ::execv(KLENS_PROGRAM, argv.data());
  std::_Exit(127);
}

// Types what is due; what the terminal does not take at once waits.
class Typist {
 public:
  Typist(const TerminalCall& call, int terminal) : call_(call), terminal_(terminal) {}

  void look(const std::string& screen) {
    while (next_ < call_.typed.size()) {
      const size_t found = screen.find(call_.typed[next_].after, seen_);
      if (found == std::string::npos) return;
      seen_ = found + call_.typed[next_].after.size();
      waiting_ += call_.typed[next_++].keys;
    }
  }
  bool busy() const { return !waiting_.empty(); }
  void type() {
    const ssize_t sent =
        ::write(terminal_, waiting_.data(), std::min<size_t>(waiting_.size(), 512));
    if (sent > 0) waiting_.erase(0, static_cast<size_t>(sent));
  }

 private:
  const TerminalCall& call_;
  int terminal_;
  size_t next_ = 0, seen_ = 0;
  std::string waiting_;
};

// False at the end.
bool drain(int fd, std::string& text) {
  char buffer[1 << 14];
  const ssize_t got = ::read(fd, buffer, sizeof(buffer));
  if (got > 0) text.append(buffer, static_cast<size_t>(got));
  return got > 0;
}

}  // namespace

TerminalOutcome run_on_terminal(const TerminalCall& call) {
  const int terminal = opened(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC), "posix_openpt");
  if (::grantpt(terminal) != 0 || ::unlockpt(terminal) != 0) throw std::runtime_error("grantpt");
  const std::string name = ::ptsname(terminal);
  const winsize size{call.rows, call.columns, 0, 0};
  ::ioctl(terminal, TIOCSWINSZ, &size);
  int out[2];
  if (::pipe2(out, O_CLOEXEC) != 0) throw std::runtime_error("pipe");
  const pid_t child = opened(::fork(), "fork");
  if (child == 0) become_klens(call, name.c_str(), out[1]);
  ::close(out[1]);
  ::fcntl(terminal, F_SETFL, O_NONBLOCK);  // a terminal that is full must not stop the typist

  TerminalOutcome outcome;
  Typist typist(call, terminal);
  const TerminalClock::time_point start = TerminalClock::now();
  TerminalClock::time_point last = start;
  bool screen_open = true, out_open = true;
  while (screen_open || out_open) {
    typist.look(outcome.screen);
    pollfd fds[] = {{screen_open ? terminal : -1,
                     static_cast<short>(typist.busy() ? POLLIN | POLLOUT : POLLIN), 0},
                    {out_open ? out[0] : -1, POLLIN, 0}};
    ::poll(fds, 2, 20);
    if (TerminalClock::now() - start > kTerminalPatience) ::kill(child, SIGKILL);
    if ((fds[0].revents & POLLOUT) != 0) typist.type();
    if ((fds[0].revents & (POLLIN | POLLHUP | POLLERR)) != 0) {
      screen_open = drain(terminal, outcome.screen);
      const TerminalClock::time_point now = TerminalClock::now();
      outcome.silence = std::max(outcome.silence,
                                 std::chrono::duration_cast<std::chrono::milliseconds>(now - last));
      last = now;
    }
    if (fds[1].revents != 0) out_open = drain(out[0], outcome.out);
  }
  ::close(terminal);
  ::close(out[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  if (WIFEXITED(status)) outcome.code = WEXITSTATUS(status);
  return outcome;
}

std::string pasted(const std::string& text) { return "\033[200~" + text + "\033[201~"; }

}  // namespace klens::testing
