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

// The integer at (row, col) of an integer layout.
inline int32_t stored_at(const WeightView& w, int64_t row, int64_t col) {
  const uint8_t* bytes = tile_at(w, row, col) + row % kTileOutputs * 4;
  if (w.layout == Layout::kTilesI8) return static_cast<int8_t>(bytes[col % 4]);
  const int code = code_at(w.layout, bytes, col % tile_cols(w.layout));
  if (w.min != nullptr) return code;
  return code - (w.layout == Layout::kTilesI4 ? 8 : w.layout == Layout::kTilesI5 ? 16 : 32);
}

// Of a layout that holds the numbers themselves.
float number_at(const WeightView& w, int64_t row, int64_t col) {
  switch (w.layout) {
    case Layout::kRowsF32:
      return static_cast<const float*>(w.data)[row * w.cols + col];
    case Layout::kRowsF16:
      return f16_to_f32(static_cast<const uint16_t*>(w.data)[row * w.cols + col]);
    case Layout::kRowsBf16:
      return bf16_to_f32(static_cast<const uint16_t*>(w.data)[row * w.cols + col]);
    default: {
      const uint8_t* number = tile_at(w, row, col) + row % kTileOutputs * 4 + col % 2 * 2;
      return f16_to_f32(*reinterpret_cast<const uint16_t*>(number));
    }
  }
}

void expand_integers(const WeightView& w, int64_t row, int64_t begin, int64_t end, float* out) {
  for (int64_t k = begin; k < end;) {
    const int64_t stop = end < (k / w.group + 1) * w.group ? end : (k / w.group + 1) * w.group;
    const float scale = of_group(w, w.scale, row, k);
    const float min = w.min == nullptr ? 0 : of_group(w, w.min, row, k);
    for (; k < stop; ++k) {
      const float scaled = static_cast<float>(stored_at(w, row, k)) * scale;
      *out++ = w.min == nullptr ? scaled : scaled + min;
    }
  }
}

}  // namespace

int32_t integer_at(const WeightView& w, int64_t row, int64_t col) { return stored_at(w, row, col); }

void expand_columns(const WeightView& w, int64_t row, int64_t col_begin, int64_t col_end,
                    float* out) {
  if (w.layout >= Layout::kTilesI8) return expand_integers(w, row, col_begin, col_end, out);
  for (int64_t k = col_begin; k < col_end; ++k) out[k - col_begin] = number_at(w, row, k);
}

void expand_row(const WeightView& w, int64_t row, float* out) {
  expand_columns(w, row, 0, w.cols, out);
}

}  // namespace klens
