#pragma once
// What gguf_parser.cpp, gguf_types.cpp and gguf_file.cpp share.
#include "loaders/byte_reader.h"
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

// A string as GGUF writes it: its length, then its bytes.
inline bool read_gguf_text(ByteReader& reader, std::string_view& value) {
  uint64_t size = 0;
  return reader.read(size) && reader.take(size, value);
}

}  // namespace klens
