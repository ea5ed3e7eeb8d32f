#pragma once
// Changes the header or the data of a safetensors container and keeps its first eight bytes, the
// header's size, true: without it nearly every mutation would end at that size.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned seed) {
  constexpr size_t kSize = 8;
  if (seed % 16 == 0 || size <= kSize) return LLVMFuzzerMutate(data, size, max_size);
  uint64_t header_size = 0;
  std::memcpy(&header_size, data, kSize);
  header_size = std::min<uint64_t>(header_size, size - kSize);
  if (seed % 4 == 1) {
    const size_t begin = kSize + header_size;
    return begin + LLVMFuzzerMutate(data + begin, size - begin, max_size - begin);
  }
  const std::vector<uint8_t> rest(data + kSize + header_size, data + size);
  header_size = LLVMFuzzerMutate(data + kSize, header_size, max_size - kSize - rest.size());
  std::memcpy(data, &header_size, kSize);
  std::copy(rest.begin(), rest.end(), data + kSize + header_size);
  return kSize + header_size + rest.size();
}
