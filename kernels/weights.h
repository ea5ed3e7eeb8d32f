#pragma once
#include <cstddef>
#include <cstdint>

namespace klens {

// How the numbers of a weight matrix W [rows = N outputs][cols = K inputs] lie in memory.
//
// Row layouts are what checkpoints publish: row-major, contiguous, only element-aligned.
// Tile layouts are ours: 16 outputs side by side, 4 bytes of K each, tile after tile along K, and
// then the next 16 outputs. One tile is a 64-byte line, an AVX-512 register, a row of an AMX B tile
// and one read of a 16-lane Xe sub-group. N is padded to 16 and K to the tile with zero weights.
//
//   kTilesF16  [N/16][K/2][16][2] FP16
//   kTilesI8   [N/16][K/4][16][4] int8, in [-127, 127]
//   kTilesI4   [N/16][K/8][16][4] bytes: byte j of output o in tile t holds column 8t+j in its low
//              and column 8t+4+j in its high nibble, each as a code 0..15
//   kTilesI5   [N/16][K/32][5][16][4] bytes, codes 0..31. A tile is several lines here, so that all
//              bits of a column are one stream. Lines 0 to 3 are four tiles of kTilesI4 with the
//              low four bits of the codes; of line 4, bit b of output o's byte j is the fifth bit
//              of column 4b+j of the tile's 32
//   kTilesI6   [N/16][K/32][6][16][4] bytes, codes 0..63. As above; lines 4 and 5 have the fifth
//              and sixth bits: in line 4+l, bits 2f and 2f+1 of byte j are those of column
//              4(4l+f)+j
//   kTilesI2   [N/16][K/32][2][16][4] bytes, codes 0..3: in line l, bits 2f and 2f+1 of byte j are
//              column 4(4l+f)+j
//   kTilesI3   [N/16][K/32][3][16][4] bytes, codes 0..7. Lines 0 and 1 are as kTilesI2 with the low
//              two bits of the codes; of line 2, bit b of byte j is the third bit of column 4b+j
//
// A code u of b bits is the integer u - 2^(b-1), from -2^(b-1) on; padding has the integer 0. Where
// a matrix has minima, a code is the integer u itself.
enum class Layout : uint8_t {
  kRowsF32,
  kRowsF16,
  kRowsBf16,
  kTilesF16,
  kTilesI8,
  kTilesI4,
  kTilesI5,
  kTilesI6,
  kTilesI2,
  kTilesI3
};

inline constexpr int64_t kTileOutputs = 16;
inline constexpr int64_t kLineBytes = 64;

// Columns that one tile of a tile layout covers; K is padded to a multiple of it.
constexpr int64_t tile_cols(Layout layout) {
  switch (layout) {
    case Layout::kTilesF16:
      return 2;
    case Layout::kTilesI8:
      return 4;
    case Layout::kTilesI4:
      return 8;
    case Layout::kTilesI5:
    case Layout::kTilesI6:
    case Layout::kTilesI2:
    case Layout::kTilesI3:
      return 32;
    default:
      return 1;
  }
}

// Bits of a number of an integer layout.
constexpr int code_bits(Layout layout) {
  switch (layout) {
    case Layout::kTilesI2:
      return 2;
    case Layout::kTilesI3:
      return 3;
    case Layout::kTilesI4:
      return 4;
    case Layout::kTilesI5:
      return 5;
    case Layout::kTilesI6:
      return 6;
    default:
      return 8;
  }
}

// Bytes of a tile of a tile layout.
constexpr int64_t tile_bytes(Layout layout) {
  switch (layout) {
    case Layout::kTilesI5:
      return 5 * kLineBytes;
    case Layout::kTilesI6:
      return 6 * kLineBytes;
    case Layout::kTilesI2:
      return 2 * kLineBytes;
    case Layout::kTilesI3:
      return 3 * kLineBytes;
    default:
      return kLineBytes;
  }
}

// A borrowed weight matrix. W[n][k] = number at (n, k); where the layout is integer, times its
// scale, plus its minimum if there is any.
struct WeightView {
  Layout layout = Layout::kRowsF32;
  int64_t rows = 0;  // N
  int64_t cols = 0;  // K
  // Integer layouts: columns that share a scale; 16, a multiple of 32, or >= cols for one per
  // output.
  int64_t group = 0;
  const void* data = nullptr;  // 64-byte aligned for tile layouts
  // FP16 [N/16][groups][16], of any sign; integer layouts only.
  const uint16_t* scale = nullptr;
  // FP16, as scale, or null; not for kTilesI8. Padding columns have it too, whatever their code.
  const uint16_t* min = nullptr;

  constexpr int64_t row_tiles() const { return (rows + kTileOutputs - 1) / kTileOutputs; }
  constexpr int64_t col_tiles() const { return (cols + tile_cols(layout) - 1) / tile_cols(layout); }
  constexpr int64_t groups() const { return group == 0 ? 0 : (cols + group - 1) / group; }
};

// Bytes of the tiles of a rows x cols matrix in a tile layout, padding included.
constexpr size_t tiles_bytes(Layout layout, int64_t rows, int64_t cols) {
  const WeightView w{.layout = layout, .rows = rows, .cols = cols};
  return static_cast<size_t>(w.row_tiles() * w.col_tiles() * tile_bytes(layout));
}

// Bytes of a number of a row layout.
constexpr int64_t row_layout_bytes(Layout layout) { return layout == Layout::kRowsF32 ? 4 : 2; }

// W from output 16 * tile on.
inline WeightView from_tile(const WeightView& w, int64_t tile) {
  WeightView part = w;
  const bool rows =
      w.layout == Layout::kRowsF32 || w.layout == Layout::kRowsF16 || w.layout == Layout::kRowsBf16;
  const int64_t bytes = rows ? kTileOutputs * w.cols * row_layout_bytes(w.layout)
                             : w.col_tiles() * tile_bytes(w.layout);
  part.data = static_cast<const uint8_t*>(w.data) + tile * bytes;
  if (w.scale != nullptr) part.scale += tile * w.groups() * kTileOutputs;
  if (w.min != nullptr) part.min += tile * w.groups() * kTileOutputs;
  part.rows -= tile * kTileOutputs;
  return part;
}

// The integer at (row, col) of an integer layout.
int32_t integer_at(const WeightView& w, int64_t row, int64_t col);

// Row `row` of W as FP32 into out [cols]. Any layout; used for embedding lookup. Scalar. An integer
// times an FP16 scale fits FP32, so that this is exact, and rounds once where a minimum is added:
// whether that is fused or not, kernels have the same value.
void expand_row(const WeightView& w, int64_t row, float* out);

// Columns [col_begin, col_end) of that row into out [col_end - col_begin].
void expand_columns(const WeightView& w, int64_t row, int64_t col_begin, int64_t col_end,
                    float* out);

}  // namespace klens
