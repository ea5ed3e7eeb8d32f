#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "quant/packed_weight.h"

namespace klens {

// Memory for what is made once and kept: handed out of slabs that are large pages where the system
// has them. Getting small pages takes several times as long as filling them.
class Arena {
 public:
  // count zeros, 64-byte aligned.
  float* take(int64_t count) {
    const size_t bytes = (static_cast<size_t>(count) * sizeof(float) + 63) / 64 * 64;
    if (slabs_.empty() || used_ + bytes > slabs_.back().size()) {
      slabs_.emplace_back(std::max(bytes, kSlab));
      used_ = 0;
    }
    used_ += bytes;
    return reinterpret_cast<float*>(slabs_.back().data() + used_ - bytes);
  }

 private:
  static constexpr size_t kSlab = size_t{2} << 20;
  std::vector<AlignedBuffer> slabs_;
  size_t used_ = 0;  // of the last
};

}  // namespace klens
