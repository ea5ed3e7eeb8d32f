// Shared by *_avx512bf16.cpp only: pairs of BF16, which vdpbf16ps multiplies.
#pragma once
#include "kernels/cpu/vec_avx512.h"

namespace klens::cpu {
namespace {

using Pair = uint32_t;  // two BF16: elements 2 i and 2 i + 1 of what a product adds up over

// Thirty-two floats that lie one after the other.
inline __m512i row_pairs(__m512 first, __m512 second) {
  return (__m512i)_mm512_cvtne2ps_pbh(second, first);
}

inline void store_row(Pair* to, __m512 first, __m512 second) {
  _mm512_storeu_si512(to, row_pairs(first, second));
}

// Two rows of sixteen, element by element.
inline void store_columns(Pair* to, __m512 even, __m512 odd) {
  const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24,
                                         8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  _mm512_storeu_si512(to, _mm512_permutexvar_epi16(order, row_pairs(even, odd)));
}

inline __m512 multiply_add_pairs(__m512i a, __m512i b, __m512 sum) {
  return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
}

inline __m512i each_pair(Pair p) { return _mm512_set1_epi32(static_cast<int32_t>(p)); }

}  // namespace
}  // namespace klens::cpu
