#pragma once
#include <cstddef>
#include <span>
#include <string>

namespace klens {

// A file mapped read-only; its pages are shared with every process that maps it.
class MappedFile {
 public:
  // Throws Error (kIo) naming the file; folders and empty files are refused.
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::string& path() const { return path_; }
  std::span<const std::byte> bytes() const { return {data_, size_}; }
  // This process no longer has `part` of the file in memory, nor what lies close by; it is there
  // again when it is next read.
  void let_go(std::span<const std::byte> part) const;

 private:
  std::string path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

// The whole of a text file of at most max_bytes. Throws Error.
std::string read_text(const std::string& path, size_t max_bytes = size_t{1} << 30);

// Whether there is something of this name. Throws Error (kIo) where that cannot be told: no
// permission, a name that is too long.
bool file_exists(const std::string& path);

// As read_text, or "" where there is no such file.
std::string read_text_if_present(const std::string& path);

}  // namespace klens
