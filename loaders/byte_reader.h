#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

namespace klens {

// Reads little-endian numbers and runs of bytes one after another; false, and no step, where they
// end before.
class ByteReader {
 public:
  explicit ByteReader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  size_t position() const { return at_; }
  size_t left() const { return bytes_.size() - at_; }

  template <class T>
  bool read(T& value) {
    if (left() < sizeof value) return false;
    std::memcpy(&value, bytes_.data() + at_, sizeof value);
    at_ += sizeof value;
    return true;
  }
  bool skip(uint64_t count, std::span<const std::byte>& skipped) {
    if (count > left()) return false;
    skipped = bytes_.subspan(at_, count);
    at_ += count;
    return true;
  }
  bool take(uint64_t count, std::string_view& taken) {
    std::span<const std::byte> bytes;
    if (!skip(count, bytes)) return false;
    taken = {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
    return true;
  }
  // Up to the next newline, which is skipped.
  bool line(std::string_view& taken) {
    const void* end = left() == 0 ? nullptr : std::memchr(bytes_.data() + at_, '\n', left());
    if (end == nullptr) return false;
    take(static_cast<size_t>(static_cast<const std::byte*>(end) - (bytes_.data() + at_)), taken);
    ++at_;
    return true;
  }

 private:
  std::span<const std::byte> bytes_;
  size_t at_ = 0;
};

}  // namespace klens
