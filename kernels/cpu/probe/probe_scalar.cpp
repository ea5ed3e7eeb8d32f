#include "kernels/cpu/probe/probe.h"

namespace klens::cpu {

uint64_t read_probe_scalar(const void* data, int64_t bytes) {
  const auto* words = static_cast<const uint64_t*>(data);
  uint64_t sum = 0;
  for (int64_t i = 0; i < bytes / 8; ++i) sum += words[i];
  return sum;
}

int64_t integer_probe_scalar(int64_t multiply_adds) {
  constexpr int kChains = 4;
  int64_t sums[kChains] = {};
  for (int64_t& sum : sums) __asm__ volatile("" : "+r"(sum));  // or all would be known to be one
  int32_t a = 1, b = 1;
  for (int64_t done = 0; done < multiply_adds; done += kChains) {
    for (int64_t& sum : sums) {
      __asm__ volatile("" : "+r"(a), "+r"(b));  // or one product would serve all
      sum += int64_t{a} * b;
    }
  }
  int64_t total = 0;
  for (const int64_t sum : sums) total += sum;
  return total;
}

}  // namespace klens::cpu
