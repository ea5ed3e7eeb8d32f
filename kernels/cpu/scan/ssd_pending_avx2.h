// What the vector rows of ssd_scan share of a token alone. AVX-512's, too, have use for vectors of
// eight here. See kernels/README.md for the one rule of such files.
#pragma once
#include <immintrin.h>

#include "kernels/cpu/scan/ssd_scan.h"

namespace klens::cpu {
namespace {

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

}  // namespace
}  // namespace klens::cpu
