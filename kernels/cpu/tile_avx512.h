// Shared by *_avx512.cpp only: tiles of small matrix products in registers. See avx512_math.h.
#pragma once
#include "kernels/cpu/avx512_math.h"

namespace klens::cpu {
namespace {

// R rows of 16 V columns.
template <int R, int V>
struct Tile {
  __m512 v[R][V];
};

// tile[r] += sum over i < count of rows[r][i] * columns[i]; rows of columns are `stride` apart.
// Each element is one chain of fused multiply-adds in the order of i, so the shape of tiles never
// shows in the bits. Eight registers of sums hide the latency; six rows by four columns make the
// most of each load.
template <int R, int V>
inline void multiply(const float* const (&rows)[R], const float* columns, int64_t stride,
                     int64_t count, Tile<R, V>& tile) {
  Tile<R, V> sums = tile;
  for (int64_t i = 0; i < count; ++i) {
    __m512 column[V];
    for (int v = 0; v < V; ++v) column[v] = _mm512_loadu_ps(columns + i * stride + 16 * v);
    for (int r = 0; r < R; ++r) {
      const __m512 row = _mm512_set1_ps(rows[r][i]);
      for (int v = 0; v < V; ++v) sums.v[r][v] = _mm512_fmadd_ps(row, column[v], sums.v[r][v]);
    }
  }
  tile = sums;
}

// Rows of sixteen floats to columns.
inline void transpose16(__m512 (&v)[16]) {
  __m512 quad[16];  // 4 x 4 blocks: register 4 i + j holds column j of the lanes of rows 4 i ..
  for (int i = 0; i < 16; i += 4) {
    const __m512d a = _mm512_castps_pd(_mm512_unpacklo_ps(v[i], v[i + 1]));
    const __m512d b = _mm512_castps_pd(_mm512_unpackhi_ps(v[i], v[i + 1]));
    const __m512d c = _mm512_castps_pd(_mm512_unpacklo_ps(v[i + 2], v[i + 3]));
    const __m512d d = _mm512_castps_pd(_mm512_unpackhi_ps(v[i + 2], v[i + 3]));
    quad[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, c));
    quad[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, c));
    quad[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(b, d));
    quad[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(b, d));
  }
  for (int j = 0; j < 4; ++j) {  // lane l of column j is column 4 l + j
    const __m512 a = _mm512_shuffle_f32x4(quad[j], quad[4 + j], 0x88);
    const __m512 b = _mm512_shuffle_f32x4(quad[8 + j], quad[12 + j], 0x88);
    const __m512 c = _mm512_shuffle_f32x4(quad[j], quad[4 + j], 0xdd);
    const __m512 d = _mm512_shuffle_f32x4(quad[8 + j], quad[12 + j], 0xdd);
    v[j] = _mm512_shuffle_f32x4(a, b, 0x88);
    v[4 + j] = _mm512_shuffle_f32x4(c, d, 0x88);
    v[8 + j] = _mm512_shuffle_f32x4(a, b, 0xdd);
    v[12 + j] = _mm512_shuffle_f32x4(c, d, 0xdd);
  }
}

}  // namespace
}  // namespace klens::cpu
