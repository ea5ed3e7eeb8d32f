#include <immintrin.h>

#include <cstdint>

#include "kernels/cpu/probe/probe.h"

namespace klens::cpu {
namespace {

uint64_t sum_of_words(__m256i v) {  // unsigned, it wraps
  uint64_t words[4];
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(words), v);
  return words[0] + words[1] + words[2] + words[3];
}

}  // namespace

// Several streams, each its own pages: one alone leaves most of the line buffers empty.
uint64_t read_probe_avx2(const void* data, int64_t bytes) {
  constexpr int64_t kStreams = 4, kStep = 256, kAhead = 1024;
  const int64_t part = bytes / kStreams;
  const char* begin = static_cast<const char*>(data);
  __m256i sums[kStreams];
  for (__m256i& s : sums) s = _mm256_setzero_si256();
  for (int64_t i = 0; i < part; i += kStep) {
#pragma GCC unroll 4
    for (int64_t s = 0; s < kStreams; ++s) {
      const char* from = begin + s * part + i;
      for (int64_t at = 0; at < kStep; at += 64) _mm_prefetch(from + kAhead + at, _MM_HINT_T0);
      for (int64_t at = 0; at < kStep; at += 32) {
        const __m256i v = _mm256_load_si256(reinterpret_cast<const __m256i*>(from + at));
        sums[s] = _mm256_add_epi64(sums[s], v);
      }
    }
  }
  uint64_t sum = 0;
  for (const __m256i& s : sums) sum += sum_of_words(s);
  return sum;
}

// In assembly, or the compiler would know what ones add up to. Without VNNI the least is a
// multiplication of pairs and an addition of 16 bits, widened now and then.
int64_t integer_probe_avx2(int64_t multiply_adds) {
  constexpr int kChains = 8;
  constexpr int64_t kInner = 128;  // sums of 2 * kInner fit 16 bits
  const __m256i a = _mm256_set1_epi8(1), b = _mm256_set1_epi8(1);
  __m256i product;
  const __m256i one = _mm256_set1_epi16(1);
  __m256i total = _mm256_setzero_si256();
  for (int64_t done = 0; done < multiply_adds; done += 32 * kChains * kInner) {
    __m256i sums[kChains];
    for (__m256i& s : sums) s = _mm256_setzero_si256();
    for (int64_t i = 0; i < kInner; ++i) {
#pragma GCC unroll 8
      for (int c = 0; c < kChains; ++c)
        __asm__("vpmaddubsw %3, %2, %1\n\tvpaddw %1, %0, %0"
                : "+x"(sums[c]), "=&x"(product)
                : "x"(a), "x"(b));
    }
    __m256i round = _mm256_setzero_si256();
    for (const __m256i& s : sums) round = _mm256_add_epi32(round, _mm256_madd_epi16(s, one));
    const __m256i low = _mm256_and_si256(round, _mm256_set1_epi64x(0xffffffff));
    total = _mm256_add_epi64(total, _mm256_add_epi64(low, _mm256_srli_epi64(round, 32)));
  }
  return sum_of_words(total);
}

}  // namespace klens::cpu
