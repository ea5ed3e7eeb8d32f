#pragma once
#include <algorithm>
#include <deque>

#include "engine/device/device.h"

namespace klens {

// Memory for what is made once, at load, and kept: small tensors. Handed out of slabs that are
// large pages where the system has them, as getting small pages takes several times as long as
// filling them.
class Constants {
 public:
  explicit Constants(Device& device) : device_(device) {}

  // [count][width] zeros, 64-byte aligned.
  Rows take(int64_t count, int64_t width) {
    const int64_t bytes = (count * width * static_cast<int64_t>(sizeof(float)) + 63) / 64 * 64;
    if (slabs_.empty() || used_ + bytes > slabs_.back().bytes()) {
      slabs_.emplace_back(device_, std::max(bytes, kSlab));
      used_ = 0;
    }
    used_ += bytes;
    return {slabs_.back().address() + static_cast<uint64_t>(used_ - bytes), count, width};
  }
  // One row of these.
  Rows put(const std::vector<float>& values) {
    const Rows row = take(1, static_cast<int64_t>(values.size()));
    device_.write(values.data(), row.address(),
                  static_cast<int64_t>(values.size() * sizeof(float)));
    return row;
  }

 private:
  static constexpr int64_t kSlab = int64_t{2} << 20;
  Device& device_;
  std::deque<Memory> slabs_;
  int64_t used_ = 0;  // of the last
};

}  // namespace klens
