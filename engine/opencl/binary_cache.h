#pragma once
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace klens {

// Compiled programs in files, klens/opencl/HASH.bin in XDG_CACHE_HOME, else in ~/.cache; nothing is
// kept where neither is set. A file holds its whole key and a checksum, and takes its name when it
// is complete: of several who write one at once, any is right, and what is damaged or another key's
// is as if it were not there. What cannot be written is not: a cache is no reason to fail.
class BinaryCache {
 public:
  BinaryCache();
  explicit BinaryCache(std::string folder) : folder_(std::move(folder)) {}

  std::optional<std::vector<std::byte>> load(const std::string& key) const;
  void store(const std::string& key, const std::vector<std::byte>& bytes) const;
  std::string path(const std::string& key) const;  // "" where nothing is kept

 private:
  std::string folder_;
};

}  // namespace klens
