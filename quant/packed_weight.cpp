#include "quant/packed_weight.h"

#include <cstring>
#include <new>

namespace klens {

AlignedBuffer::AlignedBuffer(size_t bytes)
    : data_(bytes == 0 ? nullptr
                       : static_cast<std::byte*>(::operator new (bytes, std::align_val_t{64}))),
      size_(bytes) {
  if (bytes != 0) std::memset(data_.get(), 0, bytes);
}

void AlignedBuffer::Free::operator()(std::byte* p) const {
  ::operator delete (p, std::align_val_t{64});
}

}  // namespace klens
