#include "tests/kernels/testing.h"

namespace klens::testing {
namespace {

bool is_tiles(Layout layout) {
  return layout == Layout::kTilesF16 || layout == Layout::kTilesI8 || layout == Layout::kTilesI4;
}

bool is_integer(Layout layout) { return layout == Layout::kTilesI8 || layout == Layout::kTilesI4; }

int64_t element_bytes(Layout layout) { return layout == Layout::kRowsF32 ? 4 : 2; }

// Rows are published unaligned: they start one element after a 64-byte boundary here.
int64_t data_bytes(Layout layout, int64_t rows, int64_t cols) {
  if (is_tiles(layout)) return static_cast<int64_t>(tiles_bytes(layout, rows, cols));
  return rows * cols * element_bytes(layout);
}

void put(const WeightView& w, uint8_t* bytes, int64_t n, int64_t k, Rng& rng) {
  const float real = uniform(rng, -1, 1);
  const int64_t tile = n / 16 * w.col_tiles() + k / tile_cols(w.layout);
  const uint16_t half = f32_to_f16(real);
  switch (w.layout) {
    case Layout::kRowsF32:
      std::memcpy(bytes + (n * w.cols + k) * 4, &real, 4);
      break;
    case Layout::kRowsF16:
      std::memcpy(bytes + (n * w.cols + k) * 2, &half, 2);
      break;
    case Layout::kRowsBf16:
      std::memcpy(bytes + (n * w.cols + k) * 2, reinterpret_cast<const uint8_t*>(&real) + 2, 2);
      break;
    case Layout::kTilesF16:
      std::memcpy(bytes + tile * 64 + (n % 16) * 4 + (k % 2) * 2, &half, 2);
      break;
    case Layout::kTilesI8: {
      // Extremes are common, so that a saturating sum shows.
      const int q = uniform_int(rng, 0, 3) == 0 ? (uniform_int(rng, 0, 1) == 0 ? -127 : 127)
                                                : uniform_int(rng, -127, 127);
      bytes[tile * 64 + (n % 16) * 4 + k % 4] = static_cast<uint8_t>(q);
      break;
    }
    case Layout::kTilesI4: {
      const int u = uniform_int(rng, 0, 3) == 0 ? 15 : uniform_int(rng, 0, 15);
      uint8_t& b = bytes[tile * 64 + (n % 16) * 4 + k % 4];
      b = static_cast<uint8_t>(k % 8 < 4 ? (b & 0xf0) | u : (b & 0x0f) | u << 4);
      break;
    }
  }
}

}  // namespace

std::string at(int64_t i, int64_t j) {
  char text[64];
  std::snprintf(text, sizeof text, "[%lld][%lld]", static_cast<long long>(i),
                static_cast<long long>(j));
  return text;
}

RandomWeight::RandomWeight(Layout layout, int64_t rows, int64_t cols, int64_t group, Rng& rng)
    : data(data_bytes(layout, rows, cols), is_tiles(layout) ? 0 : element_bytes(layout)),
      scale(is_integer(layout) ? (rows + 15) / 16 * ((cols + group - 1) / group) * 16 : 0),
      view{.layout = layout,
           .rows = rows,
           .cols = cols,
           .group = is_integer(layout) ? group : 0,
           .data = data.data(),
           .scale = is_integer(layout) ? scale.data() : nullptr} {
  if (layout == Layout::kTilesI4) data.fill(0x88);  // padding has the value zero
  for (int64_t n = 0; n < rows; ++n)
    for (int64_t k = 0; k < cols; ++k) put(view, data.data(), n, k, rng);
  for (int64_t i = 0; i < scale.size(); ++i) scale[i] = f32_to_f16(uniform(rng, 0.001f, 0.02f));
}

}  // namespace klens::testing
