#include <immintrin.h>

#include <cstdint>

#include "kernels/cpu/probe/probe.h"

namespace klens::cpu {

// Several streams, each its own pages: one alone leaves most of the line buffers empty.
uint64_t read_probe_avx512(const void* data, int64_t bytes) {
  constexpr int64_t kStreams = 4, kStep = 256, kAhead = 1024;
  const int64_t part = bytes / kStreams;
  const char* begin = static_cast<const char*>(data);
  __m512i sums[kStreams];
  for (__m512i& s : sums) s = _mm512_setzero_si512();
  for (int64_t i = 0; i < part; i += kStep) {
#pragma GCC unroll 4
    for (int64_t s = 0; s < kStreams; ++s) {
      const char* from = begin + s * part + i;
      for (int64_t at = 0; at < kStep; at += 64) _mm_prefetch(from + kAhead + at, _MM_HINT_T0);
      for (int64_t at = 0; at < kStep; at += 64)
        sums[s] = _mm512_add_epi64(sums[s], _mm512_load_si512(from + at));
    }
  }
  const __m512i sum =
      _mm512_add_epi64(_mm512_add_epi64(sums[0], sums[1]), _mm512_add_epi64(sums[2], sums[3]));
  uint64_t words[8], total = 0;  // unsigned, it wraps
  _mm512_storeu_si512(words, sum);
  for (const uint64_t word : words) total += word;
  return total;
}

// As the AVX2 row, twice as wide.
int64_t integer_probe_avx512(int64_t multiply_adds) {
  constexpr int kChains = 8;
  constexpr int64_t kInner = 128;  // sums of 2 * kInner fit 16 bits
  const __m512i a = _mm512_set1_epi8(1), b = _mm512_set1_epi8(1);
  __m512i product;
  const __m512i one = _mm512_set1_epi16(1);
  int64_t total = 0;
  for (int64_t done = 0; done < multiply_adds; done += 64 * kChains * kInner) {
    __m512i sums[kChains];
    for (__m512i& s : sums) s = _mm512_setzero_si512();
    for (int64_t i = 0; i < kInner; ++i) {
#pragma GCC unroll 8
      for (int c = 0; c < kChains; ++c)
        __asm__("vpmaddubsw %3, %2, %1\n\tvpaddw %1, %0, %0"
                : "+v"(sums[c]), "=&v"(product)
                : "v"(a), "v"(b));
    }
    __m512i round = _mm512_setzero_si512();
    for (const __m512i& s : sums) round = _mm512_add_epi32(round, _mm512_madd_epi16(s, one));
    total += _mm512_reduce_add_epi32(round);
  }
  return total;
}

}  // namespace klens::cpu
