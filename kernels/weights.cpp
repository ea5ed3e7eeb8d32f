#include "kernels/weights.h"

#include "kernels/half.h"

namespace klens {
namespace {

// Index of the 64-byte tile that holds (row, col).
int64_t tile_index(const WeightView& w, int64_t row, int64_t col) {
  return row / kTileOutputs * w.col_tiles() + col / tile_cols(w.layout);
}

float scale_at(const WeightView& w, int64_t row, int64_t col) {
  const int64_t tile = row / kTileOutputs;
  return f16_to_f32(
      w.scale[(tile * w.groups() + col / w.group) * kTileOutputs + row % kTileOutputs]);
}

float number_at(const WeightView& w, int64_t row, int64_t col) {
  const int64_t output = row % kTileOutputs;
  switch (w.layout) {
    case Layout::kRowsF32:
      return static_cast<const float*>(w.data)[row * w.cols + col];
    case Layout::kRowsF16:
      return f16_to_f32(static_cast<const uint16_t*>(w.data)[row * w.cols + col]);
    case Layout::kRowsBf16:
      return bf16_to_f32(static_cast<const uint16_t*>(w.data)[row * w.cols + col]);
    case Layout::kTilesF16: {
      const auto* tile =
          static_cast<const uint16_t*>(w.data) + tile_index(w, row, col) * (kTileBytes / 2);
      return f16_to_f32(tile[output * 2 + col % 2]);
    }
    case Layout::kTilesI8: {
      const auto* tile = static_cast<const int8_t*>(w.data) + tile_index(w, row, col) * kTileBytes;
      return static_cast<float>(tile[output * 4 + col % 4]) * scale_at(w, row, col);
    }
    case Layout::kTilesI4: {
      const auto* tile = static_cast<const uint8_t*>(w.data) + tile_index(w, row, col) * kTileBytes;
      const int byte = tile[output * 4 + col % 4];
      const int value = (col % 8 < 4 ? byte & 15 : byte >> 4) - 8;
      return static_cast<float>(value) * scale_at(w, row, col);
    }
  }
  return 0;
}

}  // namespace

void expand_columns(const WeightView& w, int64_t row, int64_t col_begin, int64_t col_end,
                    float* out) {
  for (int64_t k = col_begin; k < col_end; ++k) out[k - col_begin] = number_at(w, row, k);
}

void expand_row(const WeightView& w, int64_t row, float* out) {
  expand_columns(w, row, 0, w.cols, out);
}

}  // namespace klens
