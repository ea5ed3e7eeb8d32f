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
  const auto nibble = [&] { return bytes[vector / 2 * kLineBytes + j] >> vector % 2 * 4 & 15; };
  const auto bit = [&](int64_t line) { return bytes[line * kLineBytes + j] >> vector & 1; };
  const auto pair = [&](int64_t line) {  // of lines from this on
    return bytes[(line + vector / 4) * kLineBytes + j] >> vector % 4 * 2 & 3;
  };
  switch (layout) {
    case Layout::kTilesI2:
      return pair(0);
    case Layout::kTilesI3:
      return pair(0) | bit(2) << 2;
    case Layout::kTilesI5:
      return nibble() | bit(4) << 4;
    case Layout::kTilesI6:
      return nibble() | pair(4) << 4;
    default:
      return nibble();
  }
}

// Of a scale or a minimum.
float of_group(const WeightView& w, const uint16_t* halves, int64_t row, int64_t col) {
  const int64_t tile = row / kTileOutputs;
  return f16_to_f32(
      halves[(tile * w.groups() + col / w.group) * kTileOutputs + row % kTileOutputs]);
}

// What codes are above their integers.
int32_t offset_of(const WeightView& w) {
  return w.min != nullptr || w.layout == Layout::kTilesI8 ? 0 : 1 << (code_bits(w.layout) - 1);
}

// The integer at (row, col) of an integer layout.
inline int32_t stored_at(const WeightView& w, int32_t offset, int64_t row, int64_t col) {
  const uint8_t* bytes = tile_at(w, row, col) + row % kTileOutputs * 4;
  if (w.layout == Layout::kTilesI8) return static_cast<int8_t>(bytes[col % 4]);
  return code_at(w.layout, bytes, col % tile_cols(w.layout)) - offset;
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
  const int32_t offset = offset_of(w);
  for (int64_t k = begin; k < end;) {
    const int64_t stop = end < (k / w.group + 1) * w.group ? end : (k / w.group + 1) * w.group;
    const float scale = of_group(w, w.scale, row, k);
    const float min = w.min == nullptr ? 0 : of_group(w, w.min, row, k);
    for (; k < stop; ++k) {
      const float scaled = static_cast<float>(stored_at(w, offset, row, k)) * scale;
      *out++ = w.min == nullptr ? scaled : scaled + min;
    }
  }
}

}  // namespace

int32_t integer_at(const WeightView& w, int64_t row, int64_t col) {
  return stored_at(w, offset_of(w), row, col);
}

void expand_columns(const WeightView& w, int64_t row, int64_t col_begin, int64_t col_end,
                    float* out) {
  if (w.layout >= Layout::kTilesI8) return expand_integers(w, row, col_begin, col_end, out);
  for (int64_t k = col_begin; k < col_end; ++k) out[k - col_begin] = number_at(w, row, k);
}

void expand_row(const WeightView& w, int64_t row, float* out) {
  expand_columns(w, row, 0, w.cols, out);
}

}  // namespace klens
