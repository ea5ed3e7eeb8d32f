#include "tests/apps/run_program.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>

namespace klens::testing {
namespace {

using CallClock = std::chrono::steady_clock;

constexpr std::chrono::seconds kPatience{300};

struct Pipe {
  int ends[2];  // read, write
  Pipe() {
    if (::pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("pipe");
  }
  ~Pipe() {
    close(0);
    close(1);
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  void close(int which) {
    if (ends[which] >= 0) ::close(ends[which]);
    ends[which] = -1;
  }
};

[[noreturn]] void become_klens(const Call& call, const Pipe& in, const Pipe& out, const Pipe& err) {
  ::dup2(in.ends[0], STDIN_FILENO);
  ::dup2(err.ends[1], STDERR_FILENO);
  if (call.close_output) {
    ::close(STDOUT_FILENO);
  } else if (!call.output_to.empty()) {
    ::dup2(::open(call.output_to.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0666), STDOUT_FILENO);
  } else {
    ::dup2(out.ends[1], STDOUT_FILENO);
  }
  for (const auto& [name, value] : call.environment) ::setenv(name.c_str(), value.c_str(), 1);
  std::vector<char*> argv = {const_cast<char*>("klens")};
  for (const std::string& argument : call.arguments)
    argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  if (call.address_space > 0) {
    const auto most = static_cast<rlim_t>(call.address_space);
    const rlimit memory{most, most}, no_core{0, 0};
    ::setrlimit(RLIMIT_CORE, &no_core);
    ::setrlimit(RLIMIT_AS, &memory);
  }
  ::execvp(call.program.c_str(), argv.data());
  std::_Exit(127);
}

// Reads what is there; closes the pipe at its end.
void drain(Pipe& pipe, std::string& text) {
  char buffer[1 << 14];
  const ssize_t got = ::read(pipe.ends[0], buffer, sizeof(buffer));
  if (got > 0) {
    text.append(buffer, static_cast<size_t>(got));
  } else {
    pipe.close(0);
  }
}

void write_some(Pipe& pipe, const std::string& input, size_t& written) {
  const size_t count = std::min(input.size() - written, size_t{4096});
  const ssize_t sent = count > 0 ? ::write(pipe.ends[1], input.data() + written, count) : 0;
  if (sent > 0) written += static_cast<size_t>(sent);
  if (sent < 0 || written == input.size()) pipe.close(1);
}

}  // namespace

Outcome run(const Call& call) {
  std::signal(SIGPIPE, SIG_IGN);
  Pipe in, out, err;
  const pid_t child = ::fork();
  if (child < 0) throw std::runtime_error("fork");
  if (child == 0) {
    std::signal(SIGPIPE, SIG_DFL);
    become_klens(call, in, out, err);
  }
  in.close(0);
  out.close(1);
  err.close(1);
  if (call.break_pipe) out.close(0);

  Outcome outcome;
  size_t written = 0;
  const CallClock::time_point start = CallClock::now();
  bool signal_due = call.signal != 0;
  while (out.ends[0] >= 0 || err.ends[0] >= 0) {
    pollfd fds[] = {{in.ends[1], POLLOUT, 0}, {out.ends[0], POLLIN, 0}, {err.ends[0], POLLIN, 0}};
    ::poll(fds, 3, signal_due ? 1 : 100);
    const bool said = outcome.out.find(call.signal_once_said) != std::string::npos;
    if (signal_due && said && CallClock::now() - start >= call.signal_after) {
      ::kill(child, call.signal);
      signal_due = false;
    }
    if (CallClock::now() - start > kPatience) ::kill(child, SIGKILL);
    if (fds[0].revents != 0) write_some(in, call.input, written);
    if (fds[1].revents != 0) drain(out, outcome.out);
    if (fds[2].revents != 0) drain(err, outcome.err);
  }
  int status = 0;
  rusage usage{};
  ::wait4(child, &status, 0, &usage);
  outcome.peak_bytes = int64_t{usage.ru_maxrss} * 1024;
  if (WIFEXITED(status)) outcome.code = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) outcome.signal = WTERMSIG(status);
  return outcome;
}

Outcome run(std::vector<std::string> arguments) {
  Call call;
  call.arguments = std::move(arguments);
  return run(call);
}

nlohmann::json run_json(std::vector<std::string> arguments) {
  const Outcome outcome = run(std::move(arguments));
  if (outcome.code != 0) throw std::runtime_error("klens failed: " + outcome.err);
  return nlohmann::json::parse(outcome.out);
}

bool is_one_error_line(const std::string& err) {
  return err.starts_with("klens: error: ") && err.find('\n') == err.size() - 1;
}

void check_usage_error(const std::vector<std::string>& arguments, const std::string& mentions) {
  INFO("klens " << Catch::Detail::stringify(arguments));
  const Outcome outcome = run(arguments);
  CHECK(outcome.code == 2);
  CHECK(outcome.out.empty());
  const size_t line_end = outcome.err.find('\n');
  REQUIRE(line_end != std::string::npos);
  CHECK(is_one_error_line(outcome.err.substr(0, line_end + 1)));
  CHECK_THAT(outcome.err.substr(line_end + 1), Catch::StartsWith("Try 'klens"));
  CHECK_THAT(outcome.err, Catch::Contains(mentions));
}

void check_failure(const std::vector<std::string>& arguments, const std::string& mentions) {
  INFO("klens " << Catch::Detail::stringify(arguments));
  const Outcome outcome = run(arguments);
  CHECK(outcome.code == 1);
  CHECK(outcome.out.empty());
  CHECK(is_one_error_line(outcome.err));
  CHECK_THAT(outcome.err, Catch::Contains(mentions));
}

std::string read_text(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

void write_text(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

bool exists(const std::string& path) { return std::filesystem::exists(path); }

Folder::Folder() {
  path_ = (std::filesystem::temp_directory_path() / "klens-test-XXXXXX").string();
  if (::mkdtemp(path_.data()) == nullptr) throw std::runtime_error("mkdtemp");
}

Folder::~Folder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

const std::vector<std::string>& short_run() {
  static const std::vector<std::string> options = {"--windows",    "2",  "-c", "64", "--formats",
                                                   "int8,int4g64", "-q", "-t", "2"};
  return options;
}

const std::string& profile_text() {
  static const std::string text = [] {
    const Outcome outcome =
        run(std::vector<std::string>{"profile", kModel, "--json"} + short_run());
    if (outcome.code != 0) throw std::runtime_error("klens profile failed: " + outcome.err);
    return outcome.out;
  }();
  return text;
}

std::vector<std::string> operator+(std::vector<std::string> list,
                                   const std::vector<std::string>& more) {
  list.insert(list.end(), more.begin(), more.end());
  return list;
}

}  // namespace klens::testing
