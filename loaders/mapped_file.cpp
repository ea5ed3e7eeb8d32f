#include "loaders/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "loaders/file_kind.h"

namespace klens {
namespace {

[[noreturn]] void fail_to_map(const std::string& path, const std::string& what) {
  throw Error(ErrorKind::kIo, path + ": " + what);
}

}  // namespace

MappedFile::MappedFile(const std::string& path) : path_(path) {
  // O_NONBLOCK: a pipe is to be refused, not waited for. It means nothing to regular files.
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) fail_to_map(path, std::string("cannot open: ") + std::strerror(errno));
  struct stat info {};
  const bool regular = ::fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
  if (!regular || info.st_size <= 0) {
    ::close(fd);
    fail_to_map(path, regular ? "the file is empty; get it again"
                              : "is not a regular file; name one that is");
  }
  size_ = static_cast<size_t>(info.st_size);
  void* mapping = ::mmap(nullptr, size_, PROT_READ, MAP_SHARED, fd, 0);
  const int map_error = errno;
  ::close(fd);
  if (mapping == MAP_FAILED && map_error == ENOMEM)
    throw Error(ErrorKind::kNoMemory, path + ": there is no room to map its " +
                                          std::to_string(size_) +
                                          " bytes; allow more address space (ulimit -v)");
  if (mapping == MAP_FAILED)
    fail_to_map(path, std::string("cannot map: ") + std::strerror(map_error));
  data_ = static_cast<const std::byte*>(mapping);
  try {
    refuse_stand_in(bytes(), path);
  } catch (...) {
    ::munmap(mapping, size_);
    throw;
  }
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

void MappedFile::let_go(std::span<const std::byte> part) const {
  // The kernel maps so much around each page that is read.
  constexpr uintptr_t kAround = 16 * 4096;
  const auto first = reinterpret_cast<uintptr_t>(data_);
  const auto at = reinterpret_cast<uintptr_t>(part.data());
  const uintptr_t begin = std::max(at / kAround * kAround, first);
  const uintptr_t end =
      std::min((at + part.size() + kAround - 1) / kAround * kAround, first + size_);
  // Only advice: where it is not taken, the pages stay.
  if (!part.empty()) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

std::string read_text(const std::string& path, size_t max_bytes) {
  std::error_code ec;
  if (std::filesystem::is_directory(path, ec)) fail_to_map(path, "is a folder, not a file");
  std::ifstream in(path, std::ios::binary);
  if (!in) fail_to_map(path, std::string("cannot open: ") + std::strerror(errno));
  std::string text;
  char block[1 << 16];
  while (in.read(block, sizeof block) || in.gcount() > 0) {
    text.append(block, static_cast<size_t>(in.gcount()));
    if (text.size() > max_bytes)
      fail_to_map(path, "is larger than " + std::to_string(max_bytes) +
                            " bytes, which no file of its kind is");
  }
  if (in.bad()) fail_to_map(path, "cannot be read");
  return text;
}

bool file_exists(const std::string& path) {
  std::error_code ec;
  const std::filesystem::file_status status = std::filesystem::status(path, ec);
  if (status.type() == std::filesystem::file_type::none)
    fail_to_map(path, "cannot open: " + ec.message());
  return std::filesystem::exists(status);
}

std::string read_text_if_present(const std::string& path) {
  return file_exists(path) ? read_text(path) : std::string();
}

}  // namespace klens
