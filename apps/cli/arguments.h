#pragma once
#include <cstdint>
#include <initializer_list>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "apps/cli/command.h"

namespace klens::apps {

// The options of one call, by their first long name: the command line's, then KLENS_ARG_*'s. Every
// getter throws UsageError, naming the option, if the value is not wholly what was asked for.
class Arguments {
 public:
  // arguments: what follows the command's name.
  Arguments(const Command& command, const std::vector<std::string>& arguments);

  const std::vector<std::string>& positionals() const { return positionals_; }
  bool given(const std::string& name) const;
  bool on_command_line(const std::string& name) const;
  bool flag(const std::string& name) const;
  std::optional<std::string> text(const std::string& name) const;
  std::string text_or(const std::string& name, const std::string& otherwise) const;
  std::string choice(const std::string& name, std::initializer_list<const char*> allowed) const;
  std::vector<std::string> texts(const std::string& name) const;  // of a repeatable option
  int64_t count(const std::string& name, int64_t otherwise, int64_t least,
                int64_t most = INT32_MAX) const;
  double number(const std::string& name, double otherwise, double least, double most) const;
  // "3,1": numbers with commas; empty where the option is not given.
  std::vector<double> numbers(const std::string& name, double least, double most) const;
  uint64_t seed() const;
  // "2500000", "2.5M", ...: see parse_bytes.
  std::optional<int64_t> bytes(const std::string& name) const;
  // Which one of these options is given; none is "". Two are a UsageError, but one on the command
  // line silences the others' environment variables.
  std::string one_of(std::initializer_list<const char*> names) const;
  // Whether the variable of `name` is silent, as `by`, which excludes it, is on the command line.
  bool silenced(const std::string& name, const std::string& by) const {
    return on_command_line(by) && !on_command_line(name);
  }

 private:
  struct Given {
    std::vector<std::string> values;
    std::string spelled;  // "--predict" or "KLENS_ARG_PREDICT", for messages
    bool from_environment = false;
  };
  const Given* find(const std::string& name) const;

  std::map<std::string, Given> given_;
  std::vector<std::string> positionals_;
};

// The whole text as a number, or nothing: no spaces, no sign where unsigned, no NaN or infinity.
// "a,b" to "a" and "b".
std::vector<std::string> words_of(const std::string& list);
std::optional<int64_t> parse_integer(const std::string& text);
std::optional<double> parse_number(const std::string& text);
// GNU's convention: K, M, G, T (and KiB, ...) are powers of 1024, KB, MB, ... powers of 1000. A
// fraction is allowed and rounded down. At least 1 byte.
std::optional<int64_t> parse_bytes(const std::string& text);

// "predict" for "n,predict"; "KLENS_ARG_PREDICT" for "predict".
std::string first_long_name(const char* names);
std::string environment_name(const std::string& name);

}  // namespace klens::apps
