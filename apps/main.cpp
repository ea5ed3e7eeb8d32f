#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <exception>
#include <new>
#include <string>
#include <vector>

#include "apps/cli/arguments.h"
#include "apps/cli/command.h"
#include "apps/cli/error.h"
#include "apps/cli/help.h"
#include "apps/cli/output.h"
#include "klens/klens.h"

namespace klens::apps {
namespace {

std::vector<Command> all_commands() {
  return {generate_command(), chat_command(),     perplexity_command(), compare_command(),
          profile_command(),  plan_command(),     quantize_command(),   inspect_command(),
          bench_command(),    tokenize_command(), logits_command()};
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

// Errors are one line whatever a file name or a model's text brings into them.
void print_error(std::string message) {
  for (char& c : message) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  }
  std::fprintf(stderr, "klens: error: %s\n", message.c_str());
}

void run_command(const Command& command, const std::vector<std::string>& rest) {
  const Arguments arguments(command, rest);
  if (arguments.flag("help")) {
    print(command_help(command));
  } else {
    command.run(arguments);
  }
}

// command: set once known, for the hint of a UsageError.
void run(std::vector<std::string> arguments, std::string& command_name) {
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
  } else {
    const auto command = std::find_if(commands.begin(), commands.end(),
                                      [&](const Command& c) { return name == c.name; });
    if (command == commands.end()) throw UsageError("there is no command '" + name + "'");
    command_name = " " + name;
    run_command(*command, arguments);
  }
  close_output();
}

int guarded_main(const std::vector<std::string>& arguments) {
  std::string command;
  try {
    run(arguments, command);
    return 0;
  } catch (const UsageError& e) {
    print_error(e.what());
    std::fprintf(stderr, "Try 'klens%s --help'.\n", command.c_str());
    return 2;
  } catch (const std::bad_alloc&) {
    print_error("out of memory");
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
  // argc may be 0
  const int code =
      klens::apps::guarded_main(std::vector<std::string>(argv + (argc > 0), argv + argc));
  // After a failure the rest of standard output must not fail again, aloud, in exit().
  if (code != 0) std::fflush(stdout);
  return code;
}
