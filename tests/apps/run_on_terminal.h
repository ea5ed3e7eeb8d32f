#pragma once
// Runs the built klens on a pseudo-terminal, as somebody who sits in front of it.
#include <chrono>
#include <string>
#include <utility>
#include <vector>

namespace klens::testing {

struct TerminalCall {
  std::vector<std::string> arguments;
  // What is typed, each once the screen has shown `after`, looked for behind the last one's.
  struct Typed {
    std::string after, keys;
  };
  std::vector<Typed> typed;
  // Beyond this process's, without its locale; TERM is xterm unless given.
  std::vector<std::pair<std::string, std::string>> environment;
  unsigned short columns = 80, rows = 24;
  // Standard output is the terminal too; otherwise a pipe.
  bool output_on_screen = false;
  bool errors_on_screen = true;  // otherwise standard error goes nowhere
};

struct TerminalOutcome {
  int code = -1;       // exit code; -1 if a signal ended it
  std::string out;     // standard output, if not on the screen
  std::string screen;  // everything that the terminal was sent
  // The longest time from the start on without anything new on the screen.
  std::chrono::milliseconds silence{0};
};

TerminalOutcome run_on_terminal(const TerminalCall& call);

// A paste as terminals mark it.
std::string pasted(const std::string& text);

}  // namespace klens::testing
