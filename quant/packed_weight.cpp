#include "quant/packed_weight.h"

#include <sys/mman.h>

#include <cstring>
#include <new>

namespace klens {

namespace {

constexpr size_t kLargePage = size_t{2} << 20;

// Large buffers lie on large pages, where the system has them for the asking: activations are
// walked in strides of rows, and each row is a page otherwise.
size_t alignment(size_t bytes) { return bytes >= kLargePage ? kLargePage : 64; }

}  // namespace

AlignedBuffer::AlignedBuffer(size_t bytes) : data_(nullptr, Free{bytes}) {
  if (bytes == 0) return;
  void* memory = ::operator new (bytes, std::align_val_t{alignment(bytes)});
  data_.reset(static_cast<std::byte*>(memory));
  // Only advice: what it returns changes nothing.
  if (bytes >= kLargePage) ::madvise(memory, bytes / kLargePage * kLargePage, MADV_HUGEPAGE);
  std::memset(memory, 0, bytes);
}

void AlignedBuffer::Free::operator()(std::byte* p) const {
  ::operator delete (p, std::align_val_t{alignment(bytes)});
}

}  // namespace klens
