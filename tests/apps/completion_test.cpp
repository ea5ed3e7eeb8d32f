// Completion for shells and the manual page, against what --help says.
#include <catch2/catch.hpp>
#include <cstdio>
#include <iostream>
#include <iterator>
#include <set>
#include <sstream>

#include "tests/apps/run_program.h"
#include "tests/skipped.h"

using namespace klens::testing;

namespace {

// Standard output of a program; code and standard error too.
Outcome shell(const std::string& program, const std::vector<std::string>& arguments,
              const std::string& input = "") {
  // Through a shell: run() calls every program klens, and groff looks for its files by its name.
  Call call;
  call.program = "/bin/sh";
  call.arguments = {"-c", "exec \"$0\" \"$@\"", program};
  call.arguments.insert(call.arguments.end(), arguments.begin(), arguments.end());
  call.input = input;
  return run(call);
}

std::string path_of(const std::string& program) {
  for (const char* folder : {"/usr/bin/", "/bin/", "/usr/local/bin/"})
    if (exists(folder + program)) return folder + program;
  std::cout << "skip: " << program << " is not here\n";
  skipped = true;
  return "";
}

std::vector<std::string> words_of(const std::string& text) {
  std::istringstream in(text);
  return {std::istream_iterator<std::string>(in), {}};
}

std::vector<std::string> commands() {
  std::vector<std::string> names;
  std::istringstream help(run({"--help"}).out);
  bool listed = false;
  for (std::string line; std::getline(help, line);) {
    if (listed && line.empty()) break;
    if (listed && line.starts_with("  ") && line[2] != ' ') names.push_back(words_of(line)[0]);
    if (line == "Commands:") listed = true;
  }
  return names;
}

// The options of a command's help: those that begin a line of it.
std::set<std::string> options(const std::string& command) {
  std::set<std::string> names;
  std::istringstream help(run({command, "--help"}).out);
  for (std::string line; std::getline(help, line);) {
    if (!line.starts_with("  -") && !line.starts_with("      --")) continue;
    for (std::string word : words_of(line.substr(0, 28))) {
      if (word.ends_with(',')) word.pop_back();
      if (word.starts_with('-')) names.insert(word);
    }
  }
  return names;
}

}  // namespace

TEST_CASE("bash completes commands and all of their options") {
  const std::string bash = "/bin/bash";
  const Folder folder;
  write_text(folder / "klens", run({"--completion", "bash"}).out);
  const auto complete = [&](const std::string& words, size_t at) {
    const Outcome outcome =
        shell(bash, {"-c", "set -eu; source '" + (folder / "klens") + "'; COMP_WORDS=(" + words +
                               "); COMP_CWORD=" + std::to_string(at) +
                               "; _klens; printf '%s\\n' \"${COMPREPLY[@]}\""});
    INFO(outcome.err);
    CHECK(outcome.code == 0);
    const std::vector<std::string> found = words_of(outcome.out);
    return std::set<std::string>(found.begin(), found.end());
  };
  const std::vector<std::string> names = commands();
  REQUIRE(names.size() >= 15);
  const std::set<std::string> first = complete("klens ''", 1);
  for (const std::string& name : names) {
    CAPTURE(name);
    CHECK(first.count(name) == 1);
    const std::set<std::string> offered = complete("klens " + name + " -", 2);
    const std::set<std::string> wanted = options(name);
    CHECK(wanted.size() >= 2);
    for (const std::string& option : wanted) CHECK(offered.count(option) == 1);
  }
  CHECK(complete("klens generate MODEL --sam", 3) == std::set<std::string>{"--samples"});
  CHECK(complete("klens help em", 2) == std::set<std::string>{"embed"});
  CHECK(complete("klens generate mod", 2).empty());  // file names, by bash itself
}

TEST_CASE("zsh's completion has all commands and options") {
  const std::string text = run({"--completion", "zsh"}).out;
  CHECK_THAT(text, Catch::StartsWith("#compdef klens\n"));
  for (const std::string& name : commands()) {
    const size_t begin = text.find("    " + name + ")\n");
    REQUIRE(begin != std::string::npos);
    const std::string section = text.substr(begin, text.find(";;", begin) - begin);
    for (const std::string& option : options(name)) {
      CAPTURE(name, option);
      CHECK_THAT(section, Catch::Contains(option + "[") || Catch::Contains(option + ",") ||
                              Catch::Contains(option + "}"));
    }
  }
}

TEST_CASE("zsh loads its completion", "[tools]") {
  const std::string zsh = path_of("zsh");
  if (zsh.empty()) return;
  const Folder folder;
  write_text(folder / "_klens", run({"--completion", "zsh"}).out);
  const Outcome outcome =
      shell(zsh, {"-f", "-c",
                  "fpath=('" + (folder / "") +
                      "' $fpath); autoload -Uz compinit && compinit -u -D "
                      "&& autoload +X _klens && whence -w _klens && print $_comps[klens]"});
  INFO(outcome.err);
  CHECK(outcome.code == 0);
  CHECK(outcome.out == "_klens: function\n_klens\n");
}

TEST_CASE("the manual page has all commands and options") {
  const std::string page = run({"--man"}).out;
  CHECK_THAT(page, Catch::StartsWith(".TH KLENS 1 "));
  for (const std::string& name : commands()) {
    const size_t begin = page.find(".SS \"klens " + name + "\"\n");
    REQUIRE(begin != std::string::npos);
    const std::string section = page.substr(begin, page.find("\n.S", begin) - begin);
    for (std::string option : options(name)) {
      for (size_t at = 0; (at = option.find('-', at)) != std::string::npos; at += 2)
        option.insert(at, 1, '\\');
      CAPTURE(name, option);
      CHECK_THAT(section, Catch::Contains("\\fB" + option + "\\fR"));
    }
  }
}

TEST_CASE("groff and mandoc find nothing wrong with the manual page", "[tools]") {
  const Folder folder;
  write_text(folder / "klens.1", run({"--man"}).out);
  if (const std::string groff = path_of("groff"); !groff.empty()) {
    const Outcome outcome =
        shell(groff, {"-man", "-Tutf8", "-ww", "-rF0", "-z", folder / "klens.1"});
    CHECK(outcome.code == 0);
    CHECK(outcome.err == "");
  }
  if (const std::string mandoc = path_of("mandoc"); !mandoc.empty()) {
    const Outcome outcome = shell(mandoc, {"-T", "lint", "-W", "warning", folder / "klens.1"});
    CHECK(outcome.out == "");
    CHECK(outcome.code == 0);
  }
}

TEST_CASE("other shells are refused") {
  check_usage_error({"--completion"}, "bash or zsh");
  check_usage_error({"--completion", "fish"}, "'fish'");
  check_usage_error({"--completion", "bash", "zsh"}, "bash or zsh");
}
