#include "engine/opencl/binary_cache.h"

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <span>

#include "base/error.h"
#include "loaders/atomic_file.h"
#include "loaders/checksum.h"

namespace klens {
namespace {

// A file: this line, the checksum of all that follows as 16 digits and a line's end, the key's size
// in 8 bytes, the key, the program.
constexpr std::string_view kMagic = "klens-opencl-1\n";
constexpr size_t kHex = 16, kHead = kMagic.size() + kHex + 1;
// No program of ours is that large.
constexpr std::uintmax_t kMostBinaryBytes = std::uintmax_t{1} << 28;

std::string usual_folder() {
  const auto of = [](const char* name) {
    const char* value = std::getenv(name);
    return std::string(value == nullptr ? "" : value);
  };
  // The specification has relative ones ignored.
  std::string base = of("XDG_CACHE_HOME");
  if (base.empty() || base.front() != '/') base = of("HOME").empty() ? "" : of("HOME") + "/.cache";
  return base.empty() ? "" : base + "/klens/opencl";
}

}  // namespace

BinaryCache::BinaryCache() : folder_(usual_folder()) {}

std::string BinaryCache::path(const std::string& key) const {
  return folder_.empty() ? "" : folder_ + "/" + xxh3_hex(std::as_bytes(std::span(key))) + ".bin";
}

std::optional<std::vector<std::byte>> BinaryCache::load(const std::string& key) const {
  const std::string name = path(key);
  std::error_code error;
  if (name.empty() || !std::filesystem::is_regular_file(name, error)) return std::nullopt;
  const std::uintmax_t size = std::filesystem::file_size(name, error);
  if (error || size > kMostBinaryBytes || size < kHead + sizeof(uint64_t)) return std::nullopt;
  std::vector<std::byte> all(size);
  std::ifstream file(name, std::ios::binary);
  if (!file.read(reinterpret_cast<char*>(all.data()), static_cast<std::streamsize>(size)))
    return std::nullopt;
  const std::string head(reinterpret_cast<const char*>(all.data()), kHead);
  const std::span<const std::byte> body = std::span(all).subspan(kHead);
  if (head != std::string(kMagic) + xxh3_hex(body) + "\n") return std::nullopt;
  uint64_t key_size = 0;
  std::memcpy(&key_size, body.data(), sizeof key_size);
  const std::span<const std::byte> rest = body.subspan(sizeof key_size);
  if (key_size != key.size() || rest.size() < key_size ||
      std::memcmp(rest.data(), key.data(), key.size()) != 0)
    return std::nullopt;
  return std::vector<std::byte>(rest.begin() + static_cast<std::ptrdiff_t>(key_size), rest.end());
}

void BinaryCache::store(const std::string& key, const std::vector<std::byte>& bytes) const {
  const std::string name = path(key);
  if (name.empty()) return;
  std::error_code error;
  std::filesystem::create_directories(folder_, error);
  std::vector<std::byte> body(sizeof(uint64_t) + key.size() + bytes.size());
  const uint64_t key_size = key.size();
  std::memcpy(body.data(), &key_size, sizeof key_size);
  std::memcpy(body.data() + sizeof key_size, key.data(), key.size());
  if (!bytes.empty())
    std::memcpy(body.data() + sizeof key_size + key.size(), bytes.data(), bytes.size());
  try {
    AtomicFile file(name);
    file.write(std::string(kMagic) + xxh3_hex(body) + "\n");
    file.write(body);
    file.commit();
  } catch (const Error&) {
    // No room, or no permission: it is compiled again next time.
  }
}

}  // namespace klens
