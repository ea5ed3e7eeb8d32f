#include "quant/packed_weight.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstring>
#include <new>

namespace klens {

namespace {

constexpr size_t kLargePage = size_t{2} << 20;

// Large buffers lie on large pages, where the system has them for the asking: activations are
// walked in strides of rows, and each row is a page otherwise.
size_t alignment(size_t bytes) { return bytes >= kLargePage ? kLargePage : 64; }

}  // namespace

void use_large_pages(void* memory, size_t bytes) {
  constexpr uintptr_t kPage = 4096;
  if (bytes < kLargePage) return;
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(memory) + kPage - 1) / kPage * kPage;
  const uintptr_t end = (reinterpret_cast<uintptr_t>(memory) + bytes) / kPage * kPage;
  ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
}

AlignedBuffer::AlignedBuffer(size_t bytes) : data_(nullptr, Free{bytes}) {
  if (bytes == 0) return;
  void* memory = ::operator new (bytes, std::align_val_t{alignment(bytes)});
  data_.reset(static_cast<std::byte*>(memory));
  use_large_pages(memory, bytes);
  std::memset(memory, 0, bytes);
}

void AlignedBuffer::Free::operator()(std::byte* p) const {
  ::operator delete (p, std::align_val_t{alignment(bytes)});
}

}  // namespace klens
