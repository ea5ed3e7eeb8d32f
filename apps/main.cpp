#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <new>
#include <sstream>
#include <string>
#include <vector>

#include "apps/cli/arguments.h"
#include "apps/cli/command.h"
#include "apps/cli/completion.h"
#include "apps/cli/error.h"
#include "apps/cli/help.h"
#include "apps/cli/man_page.h"
#include "apps/cli/output.h"
#include "apps/ranks/team.h"
#include "klens/klens.hpp"

namespace klens::apps {
namespace {

constexpr const char* kNoMemory =
    "out of memory; close other programs, or use a smaller model, -b or -c";

std::vector<Command> all_commands() {
  return {generate_command(), chat_command(),    serve_command(),   perplexity_command(),
          compare_command(),  profile_command(), plan_command(),    quantize_command(),
          sweep_command(),    report_command(),  inspect_command(), bench_command(),
          tokenize_command(), embed_command(),   logits_command(),  devices_command()};
}

// A descriptor that the caller closed would be given to the first file we open, and results written
// into it. The wrong direction makes every use of it an error instead; standard error may just be
// lost.
void occupy_standard_descriptors() {
  const struct {
    int fd, flags;
  } standard[] = {{STDIN_FILENO, O_WRONLY}, {STDOUT_FILENO, O_RDONLY}, {STDERR_FILENO, O_WRONLY}};
  for (const auto& [fd, flags] : standard) {
    if (::fcntl(fd, F_GETFD) == -1 && ::open("/dev/null", flags) == -1) std::_Exit(1);
  }
}

// Whether std::bad_alloc can be thrown: it takes memory, too, of which libstdc++ sets some aside
// before main(), if there is that much.
bool can_throw() {
  constexpr size_t kEnough = size_t{256} << 10;
  void* volatile some = std::malloc(kEnough);
  std::free(some);
  return some != nullptr;
}

// Errors are one line whatever a file name or a model's text brings into them, and one write: where
// several processes share standard error, nothing comes between. Allocates nothing, as there may be
// no memory.
void print_error(const char* message) {
  char line[4096] = "klens: error: ";
  size_t length = std::strlen(line);
  for (; *message != '\0' && length < sizeof line - 1; ++message) {
    const unsigned char c = static_cast<unsigned char>(*message);
    line[length++] = c < 0x20 || c == 0x7f ? ' ' : *message;
  }
  line[length++] = '\n';
  std::fwrite(line, 1, length, stderr);
}

// What a driver failed at, and was done otherwise.
void note_devices() {
  std::istringstream notes(device_notes());
  for (std::string line; std::getline(notes, line);)
    std::fprintf(stderr, "klens: note: %s\n", line.c_str());
}

void run_command(const Command& command, const std::vector<std::string>& rest) {
  const Arguments arguments(command, rest);
  if (arguments.flag("help")) {
    print(command_help(command));
  } else if (launched().count > 1 && !command.shared) {
    throw UsageError(std::string(command.name) + " is one process's job, not that of " +
                     std::to_string(launched().count) + ": start it without mpirun");
  } else {
    command.run(arguments);
    if (!arguments.flag("quiet")) note_devices();
  }
}

// command: set once known, for the hint of a UsageError.
void run_command(std::vector<std::string> arguments, std::string& command_name) {
  if (arguments.empty()) throw UsageError("no command given");
  std::string name = arguments[0];
  arguments.erase(arguments.begin());
  const std::vector<Command> commands = all_commands();
  if (name == "help" && !arguments.empty()) {
    name = arguments[0];
    arguments = {"--help"};
  }
  if (name == "--help" || name == "-h" || name == "help") {
    print(program_help(commands));
  } else if (name == "--version") {
    print(std::string("klens ") + klens_version() + " (" + klens_isa() + ")\n");
  } else if (name == "--completion") {
    if (arguments.size() != 1) throw UsageError("--completion takes bash or zsh");
    print(completion(commands, arguments[0]));
  } else if (name == "--man") {
    print(man_page(commands, klens_version()));
  } else {
    const auto command = std::find_if(commands.begin(), commands.end(),
                                      [&](const Command& c) { return name == c.name; });
    if (command == commands.end()) throw UsageError("there is no command '" + name + "'");
    command_name = " " + name;
    run_command(*command, arguments);
  }
  close_output();
}

constexpr size_t kStackBytes = size_t{1} << 19, kPageBytes = 4096;

// A frame of its own: inlined, it would lengthen its caller's.
[[gnu::noinline]] void touch_stack() {
  [[maybe_unused]] volatile char room[kStackBytes];
  for (size_t at = kStackBytes; at >= kPageBytes; at -= kPageBytes) room[at - 1] = 0;
}

// Kernels put panels of weights on the stack. The first thread's grows as it is used, and where no
// memory is left for that the system kills the process: so it grows before anything takes memory.
// False where there is not even so much.
bool grow_stack() {
  constexpr size_t kBytes = kStackBytes + 2 * kPageBytes;
  void* as_much =
      ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (as_much == MAP_FAILED) return false;
  ::munmap(as_much, kBytes);
  touch_stack();
  return true;
}

int guarded_main(int argc, char** argv) {
  if (!grow_stack() || !can_throw()) {
    print_error(kNoMemory);
    return 1;
  }
  std::string command;
  try {
    run_command(std::vector<std::string>(argv + (argc > 0), argv + argc),
                command);  // argc may be 0
    return 0;
  } catch (const ToldByFirst&) {
  } catch (const UsageError& e) {
    if (launched().rank > 0) return 2;  // the first of several says it
    print_error(e.what());
    std::fprintf(stderr, "Try 'klens%s --help'.\n", command.c_str());
    return 2;
  } catch (const std::bad_alloc&) {
    print_error(kNoMemory);
  } catch (const std::exception& e) {
    print_error(e.what());
  }
  return 1;
}

}  // namespace
}  // namespace klens::apps

int main(int argc, char** argv) {
  klens::apps::occupy_standard_descriptors();
  std::signal(SIGPIPE, SIG_IGN);  // a closed pipe is a failed write, which print() reports
  std::signal(SIGXFSZ, SIG_IGN);  // so is a file beyond `ulimit -f`
  const int code = klens::apps::guarded_main(argc, argv);
  // After a failure the rest of standard output must not fail again, aloud, in exit().
  if (code != 0) std::fflush(stdout);
  return code;
}
