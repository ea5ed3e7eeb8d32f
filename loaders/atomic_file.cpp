#include "loaders/atomic_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <utility>

#include "base/error.h"
#include "loaders/output_path.h"

namespace klens {

namespace {

constexpr const char* kTemporary = ".tmp-";

// What killed processes left beside `target`, NAME.tmp-*: a living one holds a lock on its own, in
// whatever container or on whatever machine it lives.
void remove_left_behind(const std::string& target) {
  const std::filesystem::path path(target);
  const std::string begin = path.filename().string() + kTemporary;
  std::error_code ec;
  const std::string folder = path.parent_path().string();
  std::filesystem::directory_iterator entry(folder.empty() ? "." : folder, ec), end;
  for (; !ec && entry != end; entry.increment(ec)) {
    const std::string name = entry->path().filename().string();
    if (!name.starts_with(begin) ||
        name.find_first_not_of("0123456789-", begin.size()) != std::string::npos)
      continue;
    const int fd = ::open(entry->path().c_str(), O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) continue;
    struct stat status;
    if (::fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && ::flock(fd, LOCK_EX | LOCK_NB) == 0)
      ::unlink(entry->path().c_str());
    ::close(fd);
  }
}

// A new file that says by a lock that its process lives; -1 with errno.
int create_locked(const std::string& path) {
  for (;;) {
    const int fd =
        ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (fd < 0) return -1;
    // A file system without locks has nobody who would remove it.
    if (::flock(fd, LOCK_EX) != 0) return fd;
    struct stat status;
    if (::fstat(fd, &status) != 0 || status.st_nlink > 0) return fd;
    ::close(fd);  // another process took it for one left behind, before it was locked
  }
}

}  // namespace

AtomicFile::AtomicFile(const std::string& path, Streams streams) : path_(path) {
  const OutputTarget target = output_target(path);
  target_ = target.path;
  if (target.stream) {
    if (streams == Streams::kRefused)
      throw Error(ErrorKind::kIo, path + ": is not a regular file; name another");
    // A descriptor is shared, place and all: what is printed to it comes behind.
    fd_ = target.descriptor >= 0 ? ::fcntl(target.descriptor, F_DUPFD_CLOEXEC, 0)
                                 : ::open(target_.c_str(), O_WRONLY | O_CLOEXEC);
    if (fd_ < 0) fail("cannot write");
    return;
  }
  // Two files of one process at once have different temporaries.
  static std::atomic<unsigned> count{0};
  remove_left_behind(target_);
  temporary_ = target_ + kTemporary + std::to_string(::getpid()) + "-" + std::to_string(count++);
  fd_ = create_locked(temporary_);
  if (fd_ < 0) {
    temporary_.clear();
    fail("cannot write");
  }
}

AtomicFile::~AtomicFile() {
  if (fd_ >= 0) ::close(fd_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void AtomicFile::fail(const char* what) {
  const int reason = errno;
  const char* cure = "";
  if (reason == ENOSPC || reason == EDQUOT || reason == EFBIG)
    cure = "; free some space and run again";
  if (reason == ENOENT || reason == EACCES || reason == EROFS || reason == ENOTDIR ||
      reason == ENAMETOOLONG)
    cure = "; name a file in a folder that is there and can be written to";
  throw Error(ErrorKind::kIo, path_ + ": " + what + ": " + std::strerror(reason) + cure);
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd_, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail("cannot write");
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
}

void AtomicFile::write_at_start(std::string_view text) {
  if (::lseek(fd_, 0, SEEK_SET) < 0) fail("cannot write");
  write(text);
}

void AtomicFile::commit() {
  const bool stream = temporary_.empty();
  if (!stream && ::fsync(fd_) != 0) fail("cannot write");
  const int fd = std::exchange(fd_, -1);
  if (::close(fd) != 0) fail("cannot write");
  if (stream) return;
  if (::rename(temporary_.c_str(), target_.c_str()) != 0) fail("cannot rename into place");
  temporary_.clear();
  // The rename itself must survive a power cut; a file system that cannot sync a folder is no
  // failure.
  const std::string folder = std::filesystem::path(target_).parent_path().string();
  const int dir = ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (dir >= 0) {
    ::fsync(dir);
    ::close(dir);
  }
}

}  // namespace klens
