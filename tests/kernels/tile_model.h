// `struct Tiles` of amx_tiles.h as software. It follows the pseudo-code of the Intel SDM (vol.
// 2, LDTILECFG and on) and stops the program where the processor would raise an exception. Internal
// to the file that includes it.
#pragma once
#include <cstdint>

namespace klens::cpu {
namespace {

struct Tile {
  int row_bytes, rows;  // 0: not configured
  uint8_t bytes[16][64];
};
Tile model[8];
bool configured = false;

void require(bool ok) {
  if (!ok) __builtin_trap();
}

Tile& tile_at(int i) {
  require(configured && model[i].rows != 0 && model[i].row_bytes != 0);
  return model[i];
}

struct Tiles {
  static void configure(const void* config) {
    const auto* bytes = static_cast<const uint8_t*>(config);
    require(bytes[0] == 1 && bytes[1] == 0);
    for (int i = 2; i < 16; ++i) require(bytes[i] == 0);
    for (int i = 0; i < 16; ++i) {
      const int row_bytes = bytes[16 + 2 * i] | bytes[17 + 2 * i] << 8, rows = bytes[48 + i];
      require(row_bytes <= 64 && rows <= 16 && (row_bytes == 0) == (rows == 0));
      if (i >= 8) {
        require(rows == 0);
        continue;
      }
      model[i] = {row_bytes, rows, {}};
    }
    configured = true;
  }

  static void release() {
    for (Tile& tile : model) tile = {};
    configured = false;
  }

  template <int I>
  static void zero() {
    Tile& tile = tile_at(I);
    tile = {tile.row_bytes, tile.rows, {}};
  }

  template <int I>
  static void load(const void* from, int64_t stride) {
    zero<I>();
    Tile& tile = tile_at(I);
    for (int i = 0; i < tile.rows; ++i)
      __builtin_memcpy(tile.bytes[i], static_cast<const uint8_t*>(from) + i * stride,
                       static_cast<unsigned>(tile.row_bytes));
  }

  template <int I>
  static void store(void* to, int64_t stride) {
    const Tile& tile = tile_at(I);
    for (int i = 0; i < tile.rows; ++i)
      __builtin_memcpy(static_cast<uint8_t*>(to) + i * stride, tile.bytes[i],
                       static_cast<unsigned>(tile.row_bytes));
  }

  // TDPBSSD: sums of products wrap, as unsigned ones do.
  template <int C, int A, int B>
  static void dot() {
    static_assert(C != A && C != B && A != B);
    Tile &c = tile_at(C), &a = tile_at(A), &b = tile_at(B);
    require(c.row_bytes % 4 == 0 && a.row_bytes % 4 == 0 && b.row_bytes % 4 == 0);
    require(a.rows == c.rows && b.row_bytes == c.row_bytes && b.rows == a.row_bytes / 4);
    for (int m = 0; m < c.rows; ++m) {
      uint32_t sums[16] = {};
      __builtin_memcpy(sums, c.bytes[m], sizeof sums);
      for (int k = 0; k < a.row_bytes / 4; ++k)
        for (int n = 0; n < c.row_bytes / 4; ++n)
          for (int i = 0; i < 4; ++i) {
            const int x = static_cast<int8_t>(a.bytes[m][4 * k + i]);
            const int w = static_cast<int8_t>(b.bytes[k][4 * n + i]);
            sums[n] += static_cast<uint32_t>(x * w);
          }
      __builtin_memcpy(c.bytes[m], sums, sizeof sums);
    }
  }

  // TDPBF16PS: of each step, pairs' first and second elements add up apart, and then to C. Numbers
  // below FP32's normal ones count as zero, which is left out.
  template <int C, int A, int B>
  static void dot_pairs() {
    static_assert(C != A && C != B && A != B);
    Tile &c = tile_at(C), &a = tile_at(A), &b = tile_at(B);
    require(c.row_bytes % 4 == 0 && a.row_bytes % 4 == 0 && b.row_bytes % 4 == 0);
    require(a.rows == c.rows && b.row_bytes == c.row_bytes && b.rows == a.row_bytes / 4);
    for (int m = 0; m < c.rows; ++m)
      for (int n = 0; n < c.row_bytes / 4; ++n) {
        float sums[2] = {};
        for (int k = 0; k < a.row_bytes / 4; ++k)
          for (int i = 0; i < 2; ++i)
            sums[i] = __builtin_fmaf(widened(a.bytes[m] + 4 * k + 2 * i),
                                     widened(b.bytes[k] + 4 * n + 2 * i), sums[i]);
        float sum;
        __builtin_memcpy(&sum, c.bytes[m] + 4 * n, sizeof sum);
        sum += sums[0] + sums[1];
        __builtin_memcpy(c.bytes[m] + 4 * n, &sum, sizeof sum);
      }
  }

 private:
  static float widened(const uint8_t* bfloat) {
    const uint32_t bits = static_cast<uint32_t>(bfloat[0] << 16) | static_cast<uint32_t>(bfloat[1])
                                                                       << 24;
    float value;
    __builtin_memcpy(&value, &bits, sizeof value);
    return value;
  }
};

}  // namespace
}  // namespace klens::cpu
