// Shared by *_avx2.cpp only: tiles of small matrix products in registers. See avx2_math.h.
#pragma once
#include "kernels/cpu/avx2_math.h"

namespace klens::cpu {
namespace {

// R rows of 8 V columns.
template <int R, int V>
struct Tile {
  __m256 v[R][V];
};

// tile[r] += sum over i < count of rows[r][i] * columns[i]; rows of columns are `stride` apart.
// Each element is one chain of fused multiply-adds in the order of i, so the shape of tiles never
// shows in the bits. Twelve registers of sums hide the latency; six rows make the most of each
// load.
template <int R, int V>
inline void multiply(const float* const (&rows)[R], const float* columns, int64_t stride,
                     int64_t count, Tile<R, V>& tile) {
  Tile<R, V> sums = tile;
  for (int64_t i = 0; i < count; ++i) {
    __m256 column[V];
    for (int v = 0; v < V; ++v) column[v] = _mm256_loadu_ps(columns + i * stride + 8 * v);
    for (int r = 0; r < R; ++r) {
      const __m256 row = _mm256_broadcast_ss(rows[r] + i);
      for (int v = 0; v < V; ++v) sums.v[r][v] = _mm256_fmadd_ps(row, column[v], sums.v[r][v]);
    }
  }
  tile = sums;
}

// Rows of eight floats to columns.
inline void transpose8(__m256 (&v)[8]) {
  __m256 pair[8];  // 2 x 2 blocks, then 4 x 4, then halves
  for (int i = 0; i < 8; i += 2) {
    pair[i] = _mm256_unpacklo_ps(v[i], v[i + 1]);
    pair[i + 1] = _mm256_unpackhi_ps(v[i], v[i + 1]);
  }
  for (int i = 0; i < 4; ++i) {
    const int at = i / 2 * 4 + i % 2;  // 0 1 4 5
    const __m256 a = pair[at], b = pair[at + 2];
    v[2 * i] = _mm256_shuffle_ps(a, b, 0x44);
    v[2 * i + 1] = _mm256_shuffle_ps(a, b, 0xee);
  }
  for (int i = 0; i < 4; ++i) {
    const __m256 low = v[i], high = v[i + 4];
    v[i] = _mm256_permute2f128_ps(low, high, 0x20);
    v[i + 4] = _mm256_permute2f128_ps(low, high, 0x31);
  }
}

}  // namespace
}  // namespace klens::cpu
