#pragma once
#include <cstddef>
#include <memory>

#include "quant/format.h"

namespace klens {

// Asks the system for large pages in this memory, which has not been written to yet, where there is
// room for some. Only advice.
void use_large_pages(void* memory, size_t bytes);

// A 64-byte aligned, zeroed buffer. Throws std::bad_alloc.
class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  explicit AlignedBuffer(size_t bytes);
  std::byte* data() { return data_.get(); }
  const std::byte* data() const { return data_.get(); }
  size_t size() const { return data_.get_deleter().bytes; }

 private:
  struct Free {
    size_t bytes;  // a unique_ptr makes it 0; Clang 14 takes no initialiser here
    void operator()(std::byte* p) const;
  };
  std::unique_ptr<std::byte, Free> data_;
};

// A unit's weights in one of the formats, as a model file stores them.
struct PackedWeight {
  const Format* format = nullptr;
  int64_t rows = 0, cols = 0;
  AlignedBuffer qweight, scale;

  WeightView view() const { return packed_view(*format, rows, cols, qweight.data(), scale.data()); }
};

}  // namespace klens
