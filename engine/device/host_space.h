#pragma once
#include <cstring>

#include "base/aligned_buffer.h"
#include "engine/device/memory.h"

namespace klens {

// The host's own memory: an address is a pointer.
class HostSpace final : public AddressSpace {
 public:
  uint64_t allocate(int64_t bytes) override {
    return reinterpret_cast<uint64_t>(allocate_aligned(static_cast<size_t>(bytes)));
  }
  void free(uint64_t address, int64_t bytes) noexcept override {
    free_aligned(pointer(address), static_cast<size_t>(bytes));
  }
  void zero(uint64_t address, int64_t bytes) override {
    std::memset(pointer(address), 0, static_cast<size_t>(bytes));
  }
  void copy(uint64_t from, uint64_t to, int64_t bytes) override {
    std::memcpy(pointer(to), pointer(from), static_cast<size_t>(bytes));
  }
  void write(const void* host, uint64_t to, int64_t bytes) override {
    if (bytes > 0) std::memcpy(pointer(to), host, static_cast<size_t>(bytes));
  }
  void read(uint64_t from, void* host, int64_t bytes) const override {
    if (bytes > 0) std::memcpy(host, pointer(from), static_cast<size_t>(bytes));
  }

 private:
  static void* pointer(uint64_t address) { return reinterpret_cast<void*>(address); }
};

}  // namespace klens
