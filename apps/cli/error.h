#pragma once
#include <stdexcept>
#include <string>

namespace klens::apps {

// The command was called wrongly: exit code 2 and a hint to --help.
class UsageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// The command was right and failed: exit code 1.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace klens::apps
