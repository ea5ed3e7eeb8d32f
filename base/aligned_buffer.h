#pragma once
#include <cstddef>
#include <memory>

namespace klens {

// Memory that is 64-byte aligned, or, where there is much of it, on large pages where the system
// has them for the asking: activations are walked in strides of rows, and each row is a page
// otherwise. Uninitialised. Throws std::bad_alloc.
void* allocate_aligned(size_t bytes);
void free_aligned(void* memory, size_t bytes) noexcept;

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
    void operator()(std::byte* p) const { free_aligned(p, bytes); }
  };
  std::unique_ptr<std::byte, Free> data_;
};

}  // namespace klens
