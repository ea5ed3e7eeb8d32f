#include <immintrin.h>

#include <cstdint>

#include "kernels/cpu/probe/probe.h"

namespace klens::cpu {

// In assembly, or the compiler would know what ones add up to.
int64_t integer_probe_avx512vnni(int64_t multiply_adds) {
  constexpr int kChains = 16;
  constexpr int64_t kInner = 64;
  const __m512i a = _mm512_set1_epi8(1), b = _mm512_set1_epi8(1);
  int64_t total = 0;
  for (int64_t done = 0; done < multiply_adds; done += 64 * kChains * kInner) {
    __m512i sums[kChains];
    for (__m512i& s : sums) s = _mm512_setzero_si512();
    for (int64_t i = 0; i < kInner; ++i) {
#pragma GCC unroll 16
      for (int c = 0; c < kChains; ++c)
        __asm__("vpdpbusd %2, %1, %0" : "+v"(sums[c]) : "v"(a), "v"(b));
    }
    __m512i round = _mm512_setzero_si512();
    for (const __m512i& s : sums) round = _mm512_add_epi32(round, s);
    total += _mm512_reduce_add_epi32(round);
  }
  return total;
}

}  // namespace klens::cpu
