#pragma once
#include <atomic>
#include <cstddef>
#include <cstring>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "loaders/mapped_file.h"

namespace klens {

// What an interrupted run has made that is too large for its journal's lines: each piece a file of
// its own in a folder, whole or not there. It only saves time: what is damaged, of another run or
// missing is made again, and a disk that is full, or cannot be written, ends the keeping, not the
// run. Safe from several threads.
class KeptBytes {
 public:
  using Part = std::span<const std::byte>;

  // Arrays as they were kept, in their order.
  struct Piece {
    std::unique_ptr<MappedFile> file;
    std::vector<Part> parts;

    template <class T>
    std::vector<T> array(size_t part) const {
      std::vector<T> values(parts[part].size() / sizeof(T));
      if (!values.empty())
        std::memcpy(values.data(), parts[part].data(), values.size() * sizeof(T));
      return values;
    }
  };

  // Keeps nothing.
  KeptBytes() = default;
  // `run` identifies all that pieces depend on beyond their
  // names. resume: takes up what is there, else that goes as soon as something is kept.
  KeptBytes(std::string folder, std::string run, bool resume)
      : folder_(std::move(folder)), run_(std::move(run)), resumed_(resume) {}
  KeptBytes(const KeptBytes&) = delete;

  bool keeps() const { return !folder_.empty() && !full_; }
  // In place of what the name held.
  void keep(const std::string& name, std::span<const Part> parts);
  std::optional<Piece> find(const std::string& name) const;
  void forget(const std::string& name);
  // Removes all that is there, of this run or an earlier one.
  void remove();

 private:
  std::string path_of(const std::string& name) const;
  std::string head_of(const std::string& name, std::span<const Part> parts) const;

  std::string folder_, run_;
  bool resumed_ = false;
  std::once_flag begun_;
  std::atomic<bool> full_ = false;
  std::atomic<uint64_t> written_ = 0;  // pieces, whose temporary files so have names of their own
};

}  // namespace klens
