#include "kernels/weights.h"

#include "kernels/half.h"

namespace klens {
namespace {

// The tile that holds (row, col).
const uint8_t* tile_at(const WeightView& w, int64_t row, int64_t col) {
  const int64_t tile = row / kTileOutputs * w.col_tiles() + col / tile_cols(w.layout);
  return static_cast<const uint8_t*>(w.data) + tile * tile_bytes(w.layout);
}

// The code at column `col` of an output of a tile; `bytes` are the output's four of its first line.
int code_at(Layout layout, const uint8_t* bytes, int64_t col) {
  const int64_t j = col % 4, vector = col / 4;  // of the tile
  const uint8_t* line = bytes + vector / 2 * kLineBytes;
  const int low = vector % 2 == 0 ? line[j] & 15 : line[j] >> 4;
  const uint8_t* planes = bytes + 4 * kLineBytes;
  switch (layout) {
    case Layout::kTilesI5:
      return low | (planes[j] >> vector & 1) << 4;
    case Layout::kTilesI6:
      return low | (planes[vector / 4 * kLineBytes + j] >> vector % 4 * 2 & 3) << 4;
    default:
      return low;
  }
}

// Of a scale or a minimum.
float of_group(const WeightView& w, const uint16_t* halves, int64_t row, int64_t col) {
  const int64_t tile = row / kTileOutputs;
  return f16_to_f32(
      halves[(tile * w.groups() + col / w.group) * kTileOutputs + row % kTileOutputs]);
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
      const uint8_t* number = tile_at(w, row, col) + output * 4 + col % 2 * 2;
      return f16_to_f32(*reinterpret_cast<const uint16_t*>(number));
    }
    case Layout::kTilesI8:
    case Layout::kTilesI4:
    case Layout::kTilesI5:
    case Layout::kTilesI6: {
      const float scaled =
          static_cast<float>(integer_at(w, row, col)) * of_group(w, w.scale, row, col);
      return w.min == nullptr ? scaled : scaled + of_group(w, w.min, row, col);
    }
  }
  return 0;
}

}  // namespace

int32_t integer_at(const WeightView& w, int64_t row, int64_t col) {
  const uint8_t* bytes = tile_at(w, row, col) + row % kTileOutputs * 4;
  if (w.layout == Layout::kTilesI8) return static_cast<int8_t>(bytes[col % 4]);
  const int code = code_at(w.layout, bytes, col % tile_cols(w.layout));
  if (w.min != nullptr) return code;
  return code - (w.layout == Layout::kTilesI4 ? 8 : w.layout == Layout::kTilesI5 ? 16 : 32);
}

void expand_columns(const WeightView& w, int64_t row, int64_t col_begin, int64_t col_end,
                    float* out) {
  for (int64_t k = col_begin; k < col_end; ++k) out[k - col_begin] = number_at(w, row, k);
}

void expand_row(const WeightView& w, int64_t row, float* out) {
  expand_columns(w, row, 0, w.cols, out);
}

}  // namespace klens
