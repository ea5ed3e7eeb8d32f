#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "quant/packed_weight.h"

namespace klens {

// Working memory of one forward pass: grows to what the largest block needs and is reused from then
// on. Belongs to one thread at a time.
class Scratch {
 public:
  // count values, 64-byte aligned, uninitialised; valid until the frame they were taken in ends.
  template <class T>
  T* take(int64_t count) {
    return reinterpret_cast<T*>(take_bytes(static_cast<size_t>(count) * sizeof(T)));
  }

  // Gives back, at its end, what was taken during its life.
  class Frame {
   public:
    explicit Frame(Scratch& scratch)
        : scratch_(scratch), slab_(scratch.slab_), used_(scratch.used_) {}
    ~Frame() {
      scratch_.slab_ = slab_;
      scratch_.used_ = used_;
    }
    Frame(const Frame&) = delete;
    Frame& operator=(const Frame&) = delete;

   private:
    Scratch& scratch_;
    size_t slab_, used_;
  };

 private:
  std::byte* take_bytes(size_t bytes) {
    bytes = (bytes + 63) / 64 * 64;
    while (slab_ < slabs_.size() && used_ + bytes > slabs_[slab_].size()) {
      ++slab_;
      used_ = 0;
    }
    if (slab_ == slabs_.size()) slabs_.emplace_back(std::max(bytes, size_t{1} << 20));
    std::byte* place = slabs_[slab_].data() + used_;
    used_ += bytes;
    return place;
  }

  std::vector<AlignedBuffer> slabs_;
  size_t slab_ = 0, used_ = 0;
};

}  // namespace klens
