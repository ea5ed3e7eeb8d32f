#pragma once
#include <cstdint>
#include <utility>
#include <vector>

#include "engine/device/rows.h"

namespace klens {

// Where a device keeps what it works on.
class AddressSpace {
 public:
  virtual ~AddressSpace() = default;
  // Uninitialised, 64-byte aligned, under an address that is not 0. Throws std::bad_alloc.
  virtual uint64_t allocate(int64_t bytes) = 0;
  virtual void free(uint64_t address, int64_t bytes) noexcept = 0;
  virtual void zero(uint64_t address, int64_t bytes) = 0;
  virtual void copy(uint64_t from, uint64_t to, int64_t bytes) = 0;
  virtual void write(const void* host, uint64_t to, int64_t bytes) = 0;
  // Waits for what was to be done before.
  virtual void read(uint64_t from, void* host, int64_t bytes) const = 0;
};

// Some memory of a device, freed at its end. Copying it copies what it holds.
class Memory {
 public:
  Memory() = default;
  // Zeros, or, for what is written before it is read, anything.
  enum class Begin { kZeros, kAnything };
  Memory(AddressSpace& space, int64_t bytes, Begin begin = Begin::kZeros)
      : space_(&space), bytes_(bytes) {
    if (bytes == 0) return;
    address_ = space.allocate(bytes);
    if (begin == Begin::kZeros) space.zero(address_, bytes);
  }
  Memory(const Memory& other) : space_(other.space_), bytes_(other.bytes_) {
    if (bytes_ == 0) return;
    address_ = space_->allocate(bytes_);
    space_->copy(other.address_, address_, bytes_);
  }
  Memory(Memory&& other) noexcept { swap(other); }
  Memory& operator=(const Memory& other) {
    if (this == &other) return *this;
    // Going back to a checkpoint takes no new memory.
    if (space_ == other.space_ && bytes_ == other.bytes_ && bytes_ > 0)
      space_->copy(other.address_, address_, bytes_);
    else
      *this = Memory(other);
    return *this;
  }
  Memory& operator=(Memory&& other) noexcept {
    swap(other);
    return *this;
  }
  ~Memory() {
    if (bytes_ > 0) space_->free(address_, bytes_);
  }

  void swap(Memory& other) noexcept {
    std::swap(space_, other.space_);
    std::swap(address_, other.address_);
    std::swap(bytes_, other.bytes_);
  }

  // All of it.
  void write(const void* from) {
    if (bytes_ > 0) space_->write(from, address_, bytes_);
  }

  int64_t bytes() const { return bytes_; }
  uint64_t address() const { return address_; }
  // As one row of floats.
  std::vector<std::byte> read() const {
    std::vector<std::byte> host(static_cast<size_t>(bytes_));
    if (bytes_ > 0) space_->read(address_, host.data(), bytes_);
    return host;
  }

 private:
  AddressSpace* space_ = nullptr;
  uint64_t address_ = 0;
  int64_t bytes_ = 0;
};

}  // namespace klens
