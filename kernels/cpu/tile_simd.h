// After vec_<isa>.h, in whose words it is written: tiles of small matrix products in registers.
#pragma once
#include <cstdint>

namespace klens::cpu {
namespace {

// R rows of V vectors of columns.
template <int R, int V>
struct Tile {
  Vec v[R][V];
};

// tile[r] += sum over i < count of rows[r][i] * columns[i]; rows of columns are `stride` apart.
// Each element is one chain of fused multiply-adds in the order of i, so the shape of tiles never
// shows in the bits. Eight registers of sums hide the latency; six rows make the most of each load.
template <int R, int V>
inline void multiply(const float* const (&rows)[R], const float* columns, int64_t stride,
                     int64_t count, Tile<R, V>& tile) {
  Tile<R, V> sums = tile;
  for (int64_t i = 0; i < count; ++i) {
    Vec column[V];
    for (int v = 0; v < V; ++v) column[v] = load(columns + i * stride + kLanes * v);
    for (int r = 0; r < R; ++r) {
      const Vec row = each(rows[r][i]);
      for (int v = 0; v < V; ++v) sums.v[r][v] = multiply_add(row, column[v], sums.v[r][v]);
    }
  }
  tile = sums;
}

}  // namespace
}  // namespace klens::cpu
