#include "apps/cli/files.h"

#include <fcntl.h>
#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "apps/cli/arguments.h"
#include "apps/cli/error.h"
#include "klens/klens.hpp"

namespace klens::apps {
namespace {

[[noreturn]] void fail_by_errno(const std::string& what, const std::string& path) {
  throw Error(what + " " + path + ": " + std::strerror(errno));
}

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd_ > STDERR_FILENO) ::close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

}  // namespace

std::string read_file(const std::string& path) {
  const bool standard_input = path == "-";
  const std::string name = standard_input ? "standard input" : path;
  const Descriptor file(standard_input ? STDIN_FILENO : ::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) fail_by_errno("cannot read", name);
  std::string content;
  char buffer[1 << 16];
  for (;;) {
    const ssize_t got = ::read(file.get(), buffer, sizeof(buffer));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail_by_errno("cannot read", name);
    if (got == 0) return content;
    content.append(buffer, static_cast<size_t>(got));
  }
}

std::vector<int32_t> read_ids(const std::string& path, int32_t vocab) {
  return parse_ids(read_file(path), path == "-" ? "standard input" : path, vocab);
}

std::vector<int32_t> parse_ids(const std::string& content, const std::string& name, int32_t vocab) {
  constexpr const char* kSpace = " \t\r\n\v\f";
  std::vector<int32_t> ids;
  size_t begin = content.find_first_not_of(kSpace);
  while (begin != std::string::npos) {
    const size_t end = std::min(content.find_first_of(kSpace, begin), content.size());
    const std::string word = content.substr(begin, end - begin);
    const auto value = parse_integer(word);
    if (!value || word[0] == '-')
      throw Error(name + ": item " + std::to_string(ids.size() + 1) + " is '" + word.substr(0, 40) +
                  "', not a token id");
    if (*value >= vocab)
      throw Error(name + ": token id " + word + " is not below the vocabulary size " +
                  std::to_string(vocab));
    ids.push_back(static_cast<int32_t>(*value));
    begin = content.find_first_not_of(kSpace, end);
  }
  if (ids.empty()) throw Error(name + " holds no token ids");
  return ids;
}

void write_file(const std::string& path, std::string_view content) {
  check([&](klens_error* e) {
    return klens_write_file(path.c_str(), content.data(), content.size(), e);
  });
}

void check_output(const std::string& path, const char* ending,
                  const std::vector<std::string>& inputs, bool streams) {
  if (path == "-" && !streams)
    throw Error("-: this output cannot go to standard output, as it is written whole; name a file");
  std::vector<const char*> read;
  for (const std::string& input : inputs)
    if (!input.empty() && input != "-") read.push_back(input.c_str());
  klens_output_options options{};
  options.size = sizeof(options);
  options.ending = ending;
  options.inputs = read.data();
  options.input_count = read.size();
  options.streams = streams ? 1 : 0;
  check([&](klens_error* e) { return klens_check_output(path.c_str(), &options, e); });
}

std::string expand_home(const std::string& path) {
  if (!path.starts_with('~')) return path;
  const size_t end = std::min(path.find('/'), path.size());
  const std::string user = path.substr(1, end - 1);
  const char* home = user.empty() ? std::getenv("HOME") : nullptr;
  if (home == nullptr || home[0] == '\0') {
    const passwd* entry = user.empty() ? ::getpwuid(::getuid()) : ::getpwnam(user.c_str());
    if (entry == nullptr) return path;
    home = entry->pw_dir;
  }
  return home + path.substr(end);
}

}  // namespace klens::apps
