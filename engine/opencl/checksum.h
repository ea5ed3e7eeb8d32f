#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

#include "engine/opencl/queue.h"

namespace klens {

// A sum modulo 2^64 of 32-bit words, each times an odd number that its place has, by which is seen
// whether a device has what the host gave it: for sure where one word differs or two have changed
// places, and else but for one in 2^64 of the ways to be wrong. It is as fast as memory is read. Of
// bytes from `first` on, a multiple of 4, of some memory; pieces are added up, and the last may end
// within a word.
uint64_t checksum_of(std::span<const std::byte> bytes, uint64_t first = 0);

// The same of memory of a device, by kernels/opencl/checksum.cl. Waits for it.
uint64_t checksum_on(OpenClQueue& queue, uint64_t address, int64_t bytes);

// What is wrong with that kernel, on small cases; "" if nothing.
std::string check_checksum(OpenClQueue& queue);

// What KLENS_OPENCL_CHECKSUM says, "on" or "off"; where it is not set, `otherwise`. Throws Error
// (kBadArgument) for anything else.
bool wants_checksum(bool otherwise);

}  // namespace klens
