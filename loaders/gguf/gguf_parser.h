#pragma once
// What gguf_parser.cpp, gguf_types.cpp and gguf_file.cpp share.
#include <cstring>

#include "loaders/gguf/gguf_file.h"

namespace klens {

enum class GgufValueType : uint32_t {
  kU8 = 0,
  kI8 = 1,
  kU16 = 2,
  kI16 = 3,
  kU32 = 4,
  kI32 = 5,
  kF32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kU64 = 10,
  kI64 = 11,
  kF64 = 12,
};

size_t value_type_bytes(
    GgufValueType type);  // of one element; 0 for strings, lists and unknown ones

const GgmlTypeInfo* find_ggml_type(uint32_t number);  // null: no such type
std::string readable_ggml_types();

// Reads little-endian numbers and strings one after another.
class GgufCursor {
 public:
  explicit GgufCursor(std::span<const std::byte> bytes) : bytes_(bytes) {}

  size_t position() const { return at_; }
  size_t left() const { return bytes_.size() - at_; }

  // False where the bytes end before.
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
  bool text(std::string_view& value) {
    uint64_t size = 0;
    std::span<const std::byte> bytes;
    if (!read(size) || !skip(size, bytes)) return false;
    value = {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
    return true;
  }

 private:
  std::span<const std::byte> bytes_;
  size_t at_ = 0;
};

}  // namespace klens
