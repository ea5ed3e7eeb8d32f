#pragma once
#include <cstdint>

#include "base/check.h"

namespace klens {

// A rectangle of floats in a device's memory: [count][width], rows `stride` floats apart. It can be
// cut and handed to the device's operations. It cannot be read: only the device knows what its
// address means.
class Rows {
 public:
  Rows() = default;
  // address: in bytes, as the device numbers its memory.
  Rows(uint64_t address, int64_t count, int64_t width)
      : address_(address), count_(count), width_(width), stride_(width) {}

  uint64_t address() const { return address_; }
  int64_t count() const { return count_; }
  int64_t width() const { return width_; }
  int64_t stride() const { return stride_; }
  bool none() const { return count_ == 0; }

  // The columns [first, first + width) of all rows.
  Rows columns(int64_t first, int64_t width) const {
    KLENS_CHECK(first + width <= width_);
    return cut(first, count_, width);
  }
  // The rows [first, first + count).
  Rows rows(int64_t first, int64_t count) const {
    KLENS_CHECK(first + count <= count_);
    return cut(first * stride_, count, width_);
  }

 private:
  Rows cut(int64_t floats, int64_t count, int64_t width) const {
    Rows part(address_ + static_cast<uint64_t>(floats) * sizeof(float), count, width);
    part.stride_ = stride_;
    return part;
  }

  uint64_t address_ = 0;
  int64_t count_ = 0, width_ = 0, stride_ = 0;
};

}  // namespace klens
