#pragma once
#include <cstddef>
#include <map>
#include <span>
#include <string>

namespace klens {

// A zip archive whose entries are stored as they are, as torch.save writes it: zip64 or not, on one
// disk, nothing before the first entry or behind the directory. The directory is checked whole:
// what an entry holds lies in the file and shares no byte with another.
class ZipArchive {
 public:
  // Throws Error naming the file and the entry. The caller keeps the bytes alive.
  static ZipArchive parse(std::span<const std::byte> bytes, const std::string& name);

  const std::map<std::string, std::span<const std::byte>, std::less<>>& entries() const {
    return entries_;
  }

 private:
  std::map<std::string, std::span<const std::byte>, std::less<>> entries_;
};

}  // namespace klens
