#pragma once
#include <algorithm>
#include <deque>

#include "engine/device/memory.h"

namespace klens {

// Working memory of one pass: grows to what the largest block needs and is reused from then on.
// Belongs to one lane.
class Scratch {
 public:
  explicit Scratch(AddressSpace& space) : space_(space) {}

  // The address of `bytes`, 64-byte aligned, uninitialised; valid until the frame ends that they
  // were taken in.
  uint64_t take(int64_t bytes) {
    bytes = (bytes + 63) / 64 * 64;
    while (slab_ < slabs_.size() && used_ + bytes > slabs_[slab_].bytes()) {
      ++slab_;
      used_ = 0;
    }
    if (slab_ == slabs_.size()) slabs_.emplace_back(space_, std::max(bytes, kSlab));
    used_ += bytes;
    return slabs_[slab_].address() + static_cast<uint64_t>(used_ - bytes);
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
    size_t slab_;
    int64_t used_;
  };

 private:
  static constexpr int64_t kSlab = int64_t{1} << 20;
  AddressSpace& space_;
  std::deque<Memory> slabs_;
  size_t slab_ = 0;
  int64_t used_ = 0;
};

}  // namespace klens
