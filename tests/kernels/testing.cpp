#include "tests/kernels/testing.h"

namespace klens::testing {
namespace {

bool is_integer(Layout layout) { return layout >= Layout::kTilesI8; }
bool is_tiles(Layout layout) { return layout >= Layout::kTilesF16; }

int64_t element_bytes(Layout layout) { return layout == Layout::kRowsF32 ? 4 : 2; }

// Rows are published unaligned: they start one element after a 64-byte boundary here.
int64_t data_bytes(Layout layout, int64_t rows, int64_t cols) {
  if (is_tiles(layout)) return static_cast<int64_t>(tiles_bytes(layout, rows, cols));
  return rows * cols * element_bytes(layout);
}

// What groups of a matrix of this kind share, counted in numbers.
int64_t group_numbers(bool any, int64_t rows, int64_t cols, int64_t group) {
  return any ? (rows + 15) / 16 * ((cols + group - 1) / group) * 16 : 0;
}

// Of a layout of tiles of 32 columns: bits of a column in the first lines, and in those after them.
struct Planes {
  int low, high, first_high_line;
};
Planes planes_of(Layout layout) {
  switch (layout) {
    case Layout::kTilesI2:
      return {2, 0, 2};
    case Layout::kTilesI3:
      return {2, 1, 2};
    case Layout::kTilesI5:
      return {4, 1, 4};
    default:
      return {4, 2, 4};
  }
}

int bits_of(Layout layout) {
  const Planes planes = planes_of(layout);
  return layout == Layout::kTilesI4 ? 4 : planes.low + planes.high;
}

void put_real(const WeightView& w, uint8_t* bytes, int64_t n, int64_t k, float real) {
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
    default:
      std::memcpy(bytes + (n / 16 * w.col_tiles() + k / 2) * 64 + (n % 16) * 4 + (k % 2) * 2, &half,
                  2);
      break;
  }
}

// Bits [bit, bit + count) of a byte.
void put_bits(uint8_t& byte, int64_t bit, int count, int value) {
  const int mask = (1 << count) - 1;
  byte = static_cast<uint8_t>((byte & ~(mask << bit)) | (value & mask) << bit);
}

// Padding has the value zero; where there are minima, any code will do.
void pad(const WeightView& w, Buffer<uint8_t>& data) {
  if (w.layout == Layout::kTilesI8 || !is_integer(w.layout)) return;
  data.fill(w.min != nullptr ? 0xa5 : w.layout == Layout::kTilesI4 ? 0x88 : 0);
  if (w.min != nullptr || w.layout == Layout::kTilesI4) return;
  // The highest bit alone: one of a plane, of two bits the upper one.
  const Planes planes = planes_of(w.layout);
  const int last = planes.high == 0 ? planes.low : planes.high;
  const int64_t lines = planes.low + planes.high,
                first = planes.high == 0 ? 0 : planes.first_high_line;
  for (int64_t i = 0; i < data.size(); ++i)
    if (i / 64 % lines >= first) data[i] = last == 1 ? 0xff : 0xaa;
}

}  // namespace

std::string at(int64_t i, int64_t j) {
  char text[64];
  std::snprintf(text, sizeof text, "[%lld][%lld]", static_cast<long long>(i),
                static_cast<long long>(j));
  return text;
}

std::string kind_name(const WeightView& w) {
  return std::string(layout_name(w.layout)) + (w.min != nullptr ? " with minima" : "");
}

int least_integer(const WeightView& w) {
  if (w.layout == Layout::kTilesI8) return -127;
  return w.min != nullptr ? 0 : -(1 << (bits_of(w.layout) - 1));
}

int greatest_integer(const WeightView& w) {
  if (w.layout == Layout::kTilesI8) return 127;
  return least_integer(w) + (1 << bits_of(w.layout)) - 1;
}

void put_integer(const WeightView& w, uint8_t* data, int64_t n, int64_t k, int value) {
  const int64_t lane = n % 16 * 4 + k % 4;
  if (w.layout == Layout::kTilesI8) {
    data[(n / 16 * w.col_tiles() + k / 4) * 64 + lane] = static_cast<uint8_t>(value);
    return;
  }
  const int code = value - least_integer(w);
  if (w.layout == Layout::kTilesI4) {
    uint8_t* tile = data + (n / 16 * w.col_tiles() + k / 8) * 64;
    put_bits(tile[lane], k % 8 / 4 * 4, 4, code);
    return;
  }
  const Planes planes = planes_of(w.layout);
  const int64_t lines = planes.low + planes.high;  // of 32 columns
  uint8_t* tile = data + (n / 16 * w.col_tiles() + k / 32) * lines * 64;
  const auto put = [&](int64_t line, int bits, int value_of) {
    const int64_t bit = k % 32 / 4 * bits;
    put_bits(tile[(line + bit / 8) * 64 + lane], bit % 8, bits, value_of);
  };
  put(0, planes.low, code);
  if (planes.high != 0) put(planes.first_high_line, planes.high, code >> planes.low);
}

RandomWeight::RandomWeight(Kind kind, int64_t rows, int64_t cols, int64_t group, Rng& rng)
    : data(data_bytes(kind.layout, rows, cols),
           is_tiles(kind.layout) ? 0 : element_bytes(kind.layout)),
      scale(group_numbers(is_integer(kind.layout), rows, cols, group)),
      min(group_numbers(kind.minima, rows, cols, group)),
      integers(is_integer(kind.layout) ? rows * cols : 0),
      view{.layout = kind.layout,
           .rows = rows,
           .cols = cols,
           .group = is_integer(kind.layout) ? group : 0,
           .data = data.data(),
           .scale = is_integer(kind.layout) ? scale.data() : nullptr,
           .min = kind.minima ? min.data() : nullptr} {
  pad(view, data);
  for (int64_t n = 0; n < rows; ++n)
    for (int64_t k = 0; k < cols; ++k) {
      if (!is_integer(kind.layout)) {
        put_real(view, data.data(), n, k, uniform(rng, -1, 1));
        continue;
      }
      // Extremes are common, so that a saturating sum shows.
      const int low = least_integer(view), high = greatest_integer(view);
      const int kind_of = uniform_int(rng, 0, 7);
      const int value = kind_of == 0 ? low : kind_of == 1 ? high : uniform_int(rng, low, high);
      integers[n * cols + k] = value;
      put_integer(view, data.data(), n, k, value);
    }
  for (int64_t i = 0; i < scale.size(); ++i) {
    const float magnitude = uniform(rng, 0.001f, 0.02f);
    scale[i] = f32_to_f16(uniform_int(rng, 0, 1) == 0 ? magnitude : -magnitude);
  }
  for (int64_t i = 0; i < min.size(); ++i) min[i] = f32_to_f16(uniform(rng, -0.3f, 0.3f));
}

}  // namespace klens::testing
