// For kernels of one instruction set whose sums must stay in registers: everything here is internal
// to the file that includes it. See kernels/README.md for the one rule of such files.
#pragma once
#include <immintrin.h>

#include <cstdint>

namespace klens::cpu {
namespace {

// f(0), f(1), … f(N - 1), each with a constant of its own type. A loop is unrolled too late for GCC
// 12 to keep the arrays that it walks in registers.
template <int I>
struct Index {
  static constexpr int kValue = I;
  constexpr operator int() const { return I; }
};
template <int N, class F>
__attribute__((always_inline)) inline void unrolled(const F& f) {
  if constexpr (N > 0) {
    unrolled<N - 1>(f);
    f(Index<N - 1>());
  }
}

// f(t, v) for T tokens and V vectors.
template <int T, int V, class F>
__attribute__((always_inline)) inline void each(const F& f) {
  unrolled<T>([&](auto t) __attribute__((always_inline)) {
    unrolled<V>([&](auto v) __attribute__((always_inline)) { f(t, v); });
  });
}

// f(Index<count>()) for a count from 1 to N.
template <int N, class F>
inline void with_constant(int64_t count, const F& f) {
  if (count == N) return f(Index<N>());
  if constexpr (N > 1) with_constant<N - 1>(count, f);
}

// T rows, three to a pointer: x86 addresses base, base + stride and base + 2 stride, so that twelve
// rows take four registers.
template <int T, class E>
struct Rows {
  E* base[(T + 2) / 3];
  int64_t stride;
  Rows(E* first, int64_t row_stride) : stride(row_stride) {
    for (int i = 0; i < (T + 2) / 3; ++i) base[i] = first + 3 * i * stride;
  }
  E* at(int t) const { return base[t / 3] + t % 3 * stride; }
  void advance(int64_t count) {
    for (E*& b : base) b += count;
  }
};

// Part i of n of what comes next, so that it is in the L2 cache when its turn comes.
inline void fetch_share(const uint8_t* next, int64_t bytes, int64_t i, int64_t n) {
  for (int64_t at = bytes * i / n / 64 * 64; at < bytes * (i + 1) / n; at += 64)
    _mm_prefetch(next + at, _MM_HINT_T1);
}

// The line of *to, for writing: asked for before a block is computed, it is there when the block's
// outputs are stored, which otherwise wait for each other.
inline void fetch_to_write(const float* to) { __asm__ volatile("prefetchw %0" : : "m"(*to)); }

}  // namespace
}  // namespace klens::cpu
