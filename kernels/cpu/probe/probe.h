#pragma once
#include <cstdint>
#include <span>

#include "kernels/cpu/variant.h"

namespace klens::cpu {

// What one thread of this machine gives at most, for measuring ourselves against it.

// Reads every byte of data [bytes] once and returns the sum of its 64-bit words, so that no read
// can be left out. data: 64-byte aligned; bytes: a multiple of kReadProbeBytes. All rows: the same
// sum.
using ReadProbe = uint64_t(const void* data, int64_t bytes);
inline constexpr int64_t kReadProbeBytes = 1024;

std::span<const Variant<ReadProbe>> read_probe_variants();

// Multiplies 8-bit integers and adds the products up, in registers alone, at least `multiply_adds`
// times and less than kIntegerProbeRound more. Returns how many were done, as counted by the sums
// themselves, whose factors are ones.
using IntegerProbe = int64_t(int64_t multiply_adds);
inline constexpr int64_t kIntegerProbeRound = int64_t{1} << 16;

std::span<const Variant<IntegerProbe>> integer_probe_variants();

}  // namespace klens::cpu
