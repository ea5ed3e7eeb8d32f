#include "base/aligned_buffer.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstring>
#include <new>

namespace klens {
namespace {

constexpr size_t kLargePage = size_t{2} << 20;

size_t alignment(size_t bytes) { return bytes >= kLargePage ? kLargePage : 64; }

// Only advice, for memory that has not been written to yet.
void use_large_pages(void* memory, size_t bytes) {
  constexpr uintptr_t kPage = 4096;
  if (bytes < kLargePage) return;
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(memory) + kPage - 1) / kPage * kPage;
  const uintptr_t end = (reinterpret_cast<uintptr_t>(memory) + bytes) / kPage * kPage;
  ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
}

}  // namespace

void* allocate_aligned(size_t bytes) {
  void* memory = ::operator new (bytes, std::align_val_t{alignment(bytes)});
  use_large_pages(memory, bytes);
  return memory;
}

void free_aligned(void* memory, size_t bytes) noexcept {
  ::operator delete (memory, std::align_val_t{alignment(bytes)});
}

AlignedBuffer::AlignedBuffer(size_t bytes) : data_(nullptr, Free{bytes}) {
  if (bytes == 0) return;
  data_.reset(static_cast<std::byte*>(allocate_aligned(bytes)));
  std::memset(data_.get(), 0, bytes);
}

}  // namespace klens
