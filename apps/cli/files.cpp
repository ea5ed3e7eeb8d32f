#include "apps/cli/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "apps/cli/arguments.h"
#include "apps/cli/error.h"

namespace klens::apps {
namespace {

[[noreturn]] void fail(const std::string& what, const std::string& path) {
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
  int close() {
    const int fd = fd_;
    fd_ = -1;
    return ::close(fd);
  }

 private:
  int fd_;
};

void write_all(int fd, std::string_view content, const std::string& path) {
  while (!content.empty()) {
    const ssize_t written = ::write(fd, content.data(), content.size());
    if (written < 0 && errno != EINTR) fail("cannot write", path);
    if (written > 0) content.remove_prefix(static_cast<size_t>(written));
  }
}

std::string folder_of(const std::string& path) {
  const std::string parent = std::filesystem::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}

}  // namespace

std::string read_file(const std::string& path) {
  const bool standard_input = path == "-";
  const std::string name = standard_input ? "standard input" : path;
  const Descriptor file(standard_input ? STDIN_FILENO : ::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) fail("cannot read", name);
  std::string content;
  char buffer[1 << 16];
  for (;;) {
    const ssize_t got = ::read(file.get(), buffer, sizeof(buffer));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail("cannot read", name);
    if (got == 0) return content;
    content.append(buffer, static_cast<size_t>(got));
  }
}

std::vector<int32_t> read_ids(const std::string& path, int32_t vocab) {
  constexpr const char* kSpace = " \t\r\n\v\f";
  const std::string content = read_file(path);
  const std::string name = path == "-" ? "standard input" : path;
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
  // A device or a pipe (-o /dev/stdout) is written to; replacing it by a file would be a surprise.
  struct stat status {};
  const bool replace = ::stat(path.c_str(), &status) != 0 || S_ISREG(status.st_mode);
  const std::string target = replace ? path + ".tmp" + std::to_string(::getpid()) : path;
  Descriptor file(::open(target.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
  if (file.get() < 0) fail("cannot write", path);
  try {
    write_all(file.get(), content, path);
    if (replace && ::fsync(file.get()) != 0) fail("cannot write", path);
    if (file.close() != 0) fail("cannot write", path);
    if (replace && ::rename(target.c_str(), path.c_str()) != 0) fail("cannot write", path);
  } catch (...) {
    if (replace) ::unlink(target.c_str());
    throw;
  }
}

void check_writable(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0) {
    if (S_ISDIR(status.st_mode)) throw Error("cannot write " + path + ": it is a folder");
    if (!S_ISREG(status.st_mode)) return;
  }
  const std::string folder = folder_of(path);
  if (::access(folder.c_str(), W_OK | X_OK) != 0) fail("cannot write into", folder);
}

}  // namespace klens::apps
