#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "loaders/mapped_file.h"

namespace klens {

enum class DType { kF64, kF32, kF16, kBf16, kI64, kI32, kI16, kI8, kU8, kBool };

// A tensor as it lies in a mapped file: row-major, little-endian, not necessarily aligned.
struct TensorView {
  DType dtype;
  std::vector<int64_t> shape;
  std::span<const std::byte> bytes;

  int64_t elements() const;
};

std::string shape_text(std::span<const int64_t> shape);  // "[1024, 256]"
const char* dtype_name(DType dtype);
size_t dtype_bytes(DType dtype);

// A safetensors file, mapped: 8-byte little-endian header size, JSON header, data without holes.
// Everything the header says is checked against the file when it is opened.
class SafetensorsFile {
 public:
  // Throws Error (kIo, kBadFile) naming the file and the tensor.
  static SafetensorsFile open(const std::string& path);
  // The same checks on bytes that the caller keeps alive; `name` is for messages.
  static SafetensorsFile parse(std::span<const std::byte> bytes, const std::string& name);

  const std::map<std::string, TensorView>& tensors() const { return tensors_; }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  // The mapping that the views point into; null for bytes that the caller keeps alive.
  const std::shared_ptr<const MappedFile>& mapping() const { return file_; }
  size_t header_bytes() const { return header_bytes_; }  // the 8 size bytes and the header
  size_t file_bytes() const { return file_bytes_; }

 private:
  std::shared_ptr<const MappedFile> file_;
  std::map<std::string, TensorView> tensors_;
  std::map<std::string, std::string> metadata_;
  size_t header_bytes_ = 0, file_bytes_ = 0;
};

// What a header says of one tensor to be written: see safetensors_header.
struct TensorEntry {
  std::string name;
  DType dtype;
  std::vector<int64_t> shape;
  size_t bytes;
};

// The 8 size bytes and the header, padded with spaces so that data starts at a multiple of 64
// bytes. The data of the entries is to follow in their order, without gaps.
std::string safetensors_header(std::span<const TensorEntry> entries,
                               const std::map<std::string, std::string>& metadata);

}  // namespace klens
