// What the vector rows of ssd_scan share: the heads of a group, chunks of time, and a token alone.
// AVX-512's, too, have use for vectors of eight here. See kernels/README.md for the one rule of
// such files.
#pragma once
#include <immintrin.h>

#include "kernels/cpu/scan/ssd_scan.h"

namespace klens::cpu {
namespace {

inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

// scan(group, first head, last head) for the heads of each group, which share B and C.
template <class Scan>
inline void over_groups(const SsdScanArgs& a, const Scan& scan) {
  const int64_t group_heads = a.heads / a.groups;
  for (int64_t h = a.head_begin; h < a.head_end;) {
    const int64_t group = h / group_heads, end = least(a.head_end, (group + 1) * group_heads);
    scan(group, h, end);
    h = end;
  }
}

// part(first token, tokens) for the stretches of a call, which begin at multiples of `size` in the
// sequence.
template <int64_t size, class Part>
inline void over_time(const SsdScanArgs& a, const Part& part) {
  for (int64_t t = 0; t < a.tokens;) {
    const int64_t tokens = least(size - (a.position + t) % size, a.tokens - t);
    part(t, tokens);
    t += tokens;
  }
}

// [states][kSsdPending]
inline const float* pending_b(const SsdScanArgs& a, int64_t group) {
  return a.pending.b + group * a.states * kSsdPending;
}

// Whether a head's state lacks tokens.
inline bool pending(const SsdScanArgs& a, int64_t h) {
  const __m256 weights = _mm256_loadu_ps(a.pending.weight + h * kSsdPending);
  const __m256 some = _mm256_cmp_ps(weights, _mm256_setzero_ps(), _CMP_NEQ_UQ);
  return a.pending.log[h] != 0 || _mm256_movemask_ps(some) != 0;
}

// C B^T of a group's pending tokens. Four sums: one would wait for itself.
inline __m256 multiply_pending(const SsdScanArgs& a, int64_t group) {
  const float *b = pending_b(a, group), *c = a.c + group * a.states;
  __m256 sums[4] = {};
  int64_t n = 0;
  for (; n + 4 <= a.states; n += 4)
    for (int i = 0; i < 4; ++i)
      sums[i] = _mm256_fmadd_ps(_mm256_broadcast_ss(c + n + i),
                                _mm256_loadu_ps(b + (n + i) * kSsdPending), sums[i]);
  for (; n < a.states; ++n)
    sums[0] =
        _mm256_fmadd_ps(_mm256_broadcast_ss(c + n), _mm256_loadu_ps(b + n * kSsdPending), sums[0]);
  return _mm256_add_ps(_mm256_add_ps(sums[0], sums[1]), _mm256_add_ps(sums[2], sums[3]));
}

// scan(head, C B^T of its group) for every head, and settle(head) where it is its turn.
template <class Scan, class Settle>
inline void over_heads_alone(const SsdScanArgs& a, const Scan& scan, const Settle& settle) {
  over_groups(a, [&](int64_t group, int64_t begin, int64_t end) {
    const __m256 cb = multiply_pending(a, group);
    for (int64_t h = begin; h < end; ++h) {
      scan(h, cb);
      if ((a.position + h) % kSsdPending == kSsdPending - 1) settle(h);
    }
  });
}

}  // namespace
}  // namespace klens::cpu
