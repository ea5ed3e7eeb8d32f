#pragma once
#include <stdexcept>
#include <string>

namespace klens {

// What is wrong with the world: a file, an option, the machine. The message is one line that names
// the file, the tensor or key, and the cure. The C API turns it into a status and a text; nothing
// else of ours is thrown.
enum class ErrorKind { kBadArgument, kIo, kBadFile, kUnsupported, kNoMemory, kInterrupted };

class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}
  ErrorKind kind() const { return kind_; }

 private:
  ErrorKind kind_;
};

}  // namespace klens
