#include "quant/quantizers/pack.h"

#include <tbb/blocked_range.h>
#include <tbb/parallel_for.h>
#include <tbb/parallel_reduce.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <vector>

#include "kernels/half.h"
#include "kernels/magnitude.h"

// The profiler quantises every unit in every format for every window, so this is written as loops
// over one row that a compiler vectorises for any instruction set: no branches per weight, no
// library calls, and packed words are built in registers instead of bytes being patched in memory.

namespace klens {
namespace {

constexpr int32_t kMaxHalfBits = std::bit_cast<int32_t>(kMaxF16);

// condition ? yes : no where `negative` is the condition as a sign; compilers turn the plain form
// into branches, as it may skip floating-point work.
int32_t select_by_sign(int32_t negative, int32_t yes, int32_t no) {
  const int32_t mask = negative >> 31;
  return (yes & mask) | (no & ~mask);
}

// f16_to_f32 of a finite half, without branches.
float finite_half_to_float(uint16_t h) {
  const auto magnitude = static_cast<int32_t>(h & 0x7fffu);
  const int32_t normal = (magnitude << 13) + (112 << 23);
  const auto subnormal = std::bit_cast<int32_t>(static_cast<float>(magnitude) * 0x1p-24f);
  const int32_t bits = select_by_sign(magnitude - 0x400, subnormal, normal);
  return std::bit_cast<float>(bits | static_cast<int32_t>((h & 0x8000u) << 16));
}

// f32_to_f16 of a finite number, saturating at the largest half, without branches.
uint16_t float_to_finite_half(float f) {
  const auto bits = std::bit_cast<uint32_t>(f);
  const auto exact = static_cast<int32_t>(bits & 0x7fffffffu);
  const int32_t magnitude = select_by_sign(exact - kMaxHalfBits, exact, kMaxHalfBits);
  const int32_t normal = (magnitude + 0xfff + ((magnitude >> 13) & 1) - 0x38000000) >> 13;
  const float shifted = std::bit_cast<float>(magnitude) + 0.5f;  // rounds at 2^-24, to even
  const int32_t subnormal = std::bit_cast<int32_t>(shifted) - 0x3f000000;
  const int32_t half = select_by_sign(magnitude - 0x38800000, subnormal, normal);
  return static_cast<uint16_t>(static_cast<uint32_t>(half) | ((bits >> 16) & 0x8000u));
}

// The row as floats: in `room`, or where it lies if it is that already.
const float* row_of(const WeightView& source, int64_t row, std::vector<float>& room) {
  const int64_t cols = source.cols;
  float* out = room.data();
  switch (source.layout) {
    case Layout::kRowsF32:
      return static_cast<const float*>(source.data) + row * cols;
    case Layout::kRowsF16: {
      const uint16_t* in = static_cast<const uint16_t*>(source.data) + row * cols;
      for (int64_t c = 0; c < cols; ++c) out[c] = finite_half_to_float(in[c]);
      return out;
    }
    case Layout::kRowsBf16: {
      const uint16_t* in = static_cast<const uint16_t*>(source.data) + row * cols;
      for (int64_t c = 0; c < cols; ++c) out[c] = bf16_to_f32(in[c]);
      return out;
    }
    default:
      expand_row(source, row, out);
      return out;
  }
}

// Of any sign, and never zero.
uint16_t scale_half(float scale) {
  const uint16_t half = float_to_finite_half(scale);
  if ((half & 0x7fffu) != 0) return half;
  return scale < 0 ? 0x8001 : 0x0001;
}

// codes[i] = clamp(rne((w[i] - min) / scale), lowest, highest) + offset. Clamping first is the
// same, as the bounds are whole; the addition of 1.5 * 2^23 then rounds to nearest even and leaves
// the integer in the low bits.
void encode(std::span<const float> w, float scale, float min, const Levels& levels,
            uint8_t* codes) {
  const auto lowest = static_cast<float>(levels.lowest);
  const auto highest = static_cast<float>(levels.highest);
  for (size_t i = 0; i < w.size(); ++i) {
    const float x = (w[i] - min) / scale;
    const float above = x < lowest ? lowest : x;
    const float inside = above > highest ? highest : above;
    codes[i] = static_cast<uint8_t>(std::bit_cast<int32_t>(inside + 0x1.8p23f) + levels.offset);
  }
}

// Line t of a tile row's output is 4 bytes of line t; the outputs' words lie side by side.
void put_word(std::byte* tiles, int64_t output, int64_t line, uint32_t word) {
  std::memcpy(tiles + line * kLineBytes + output * 4, &word, 4);
}

uint32_t four(const uint8_t* codes) {
  uint32_t word = 0;
  std::memcpy(&word, codes, 4);
  return word;
}

// Of each code the bits from `First` on, so many that a byte of the word holds those of 8 / Bits.
template <int First, int Bits>
uint32_t bits_of(const uint8_t* codes) {
  constexpr uint32_t kMask = ((1u << Bits) - 1) * 0x01010101u;
  uint32_t word = 0;
  for (int i = 0; i < 8 / Bits; ++i) word |= (four(codes + 4 * i) >> First & kMask) << (i * Bits);
  return word;
}

// The lines of a tile of 32 columns that have these bits of its codes.
template <int First, int Bits>
void put_lines(const uint8_t* codes, int64_t output, int64_t line, std::byte* tiles) {
  for (int64_t i = 0; i < Bits; ++i)
    put_word(tiles, output, line + i, bits_of<First, Bits>(codes + 32 / Bits * i));
}

}  // namespace

void put_codes(const uint8_t* codes, const WeightView& view, int64_t output, std::byte* tiles) {
  const int64_t lines = tile_bytes(view.layout) / kLineBytes, cols = tile_cols(view.layout);
  for (int64_t t = 0; t < view.col_tiles(); ++t, codes += cols) {
    const int64_t line = t * lines;
    switch (view.layout) {
      case Layout::kTilesI8:
        put_word(tiles, output, line, four(codes));
        break;
      case Layout::kTilesI4:
        put_word(tiles, output, line, bits_of<0, 4>(codes));
        break;
      case Layout::kTilesI2:
        put_lines<0, 2>(codes, output, line, tiles);
        break;
      case Layout::kTilesI3:
        put_lines<0, 2>(codes, output, line, tiles);
        put_lines<2, 1>(codes, output, line + 2, tiles);
        break;
      case Layout::kTilesI5:
        put_lines<0, 4>(codes, output, line, tiles);
        put_lines<4, 1>(codes, output, line + 4, tiles);
        break;
      default:
        put_lines<0, 4>(codes, output, line, tiles);
        put_lines<4, 2>(codes, output, line + 4, tiles);
    }
  }
}

namespace {

PackedWeight room_for(const Format& format, const WeightView& source) {
  return {.format = &format,
          .rows = source.rows,
          .cols = source.cols,
          .qweight = AlignedBuffer(weight_bytes(format, source.rows, source.cols)),
          .scale = AlignedBuffer(scale_bytes(format, source.rows, source.cols))};
}

// work(first, end) for the outputs of each tile.
template <class Work>
void over_tiles(const WeightView& source, const Work& work) {
  tbb::parallel_for(int64_t{0}, source.row_tiles(), [&](int64_t tile) {
    work(tile * kTileOutputs, std::min(source.rows, (tile + 1) * kTileOutputs));
  });
}

}  // namespace

Levels levels_of(const Format& format) {
  if (format.layout == Layout::kTilesI8) return {-127, 127, 0};
  const int32_t levels = 1 << code_bits(format.layout);
  return format.minimum ? Levels{0, levels - 1, 0}
                        : Levels{-levels / 2, levels / 2 - 1, levels / 2};
}

IntegerPacker::IntegerPacker(const Format& format, const WeightView& source)
    : source_(source),
      packed_(room_for(format, source)),
      view_(packed_.view()),
      levels_(levels_of(format)) {}

std::vector<uint8_t> IntegerPacker::blank_codes() const {
  return std::vector<uint8_t>(static_cast<size_t>(view_.col_tiles() * tile_cols(view_.layout)),
                              static_cast<uint8_t>(levels_.offset));
}

const float* IntegerPacker::read(int64_t row, std::vector<float>& room) const {
  return row_of(source_, row, room);
}

Grid IntegerPacker::put_grid(int64_t row, int64_t group, const Grid& grid) {
  const int64_t at =
      (row / kTileOutputs * view_.groups() + group) * kTileOutputs + row % kTileOutputs;
  const uint16_t scale = scale_half(grid.scale);
  const_cast<uint16_t*>(view_.scale)[at] = scale;
  if (view_.min == nullptr) return {f16_to_f32(scale)};
  const uint16_t min = float_to_finite_half(grid.min);
  const_cast<uint16_t*>(view_.min)[at] = min;
  return {f16_to_f32(scale), f16_to_f32(min)};
}

void IntegerPacker::put(int64_t row, const uint8_t* codes) {
  std::byte* tiles =
      packed_.qweight.data() + row / kTileOutputs * view_.col_tiles() * tile_bytes(view_.layout);
  put_codes(codes, view_, row % kTileOutputs, tiles);
}

PackedWeight IntegerPacker::take() {
  if (view_.rows % kTileOutputs != 0) {
    const std::vector<uint8_t> zeros = blank_codes();
    const int64_t end = view_.row_tiles() * kTileOutputs;
    for (int64_t row = view_.rows; row < end; ++row) put(row, zeros.data());
  }
  return std::move(packed_);
}

PackedWeight pack_integers(const Format& format, const WeightView& source, const GridRule& rule) {
  IntegerPacker packer(format, source);
  over_tiles(source, [&](int64_t first, int64_t end) {
    std::vector<float> room(static_cast<size_t>(source.cols));
    std::vector<uint8_t> codes = packer.blank_codes();
    for (int64_t row = first; row < end; ++row) {
      const float* w = packer.read(row, room);
      for (int64_t g = 0; g < packer.groups(); ++g) {
        const int64_t begin = g * packer.group();
        const int64_t count = std::min(source.cols - begin, packer.group());
        const std::span<const float> weights(w + begin, static_cast<size_t>(count));
        const Grid grid = packer.put_grid(row, g, rule(weights, begin));
        encode(weights, grid.scale, grid.min, packer.levels(), codes.data() + begin);
      }
      packer.put(row, codes.data());
    }
  });
  return packer.take();
}

PackedWeight pack_halves(const Format& format, const WeightView& source) {
  PackedWeight packed = room_for(format, source);
  const WeightView view = packed.view();
  over_tiles(source, [&](int64_t first, int64_t end) {
    std::vector<float> room(static_cast<size_t>(source.cols));
    std::vector<uint16_t> halves(static_cast<size_t>(view.col_tiles() * 2));
    std::byte* tiles =
        packed.qweight.data() + first / kTileOutputs * view.col_tiles() * tile_bytes(view.layout);
    for (int64_t row = first; row < end; ++row) {
      const float* w = row_of(source, row, room);
      for (size_t c = 0; c < room.size(); ++c) halves[c] = float_to_finite_half(w[c]);
      for (size_t t = 0; t < halves.size() / 2; ++t)
        put_word(tiles, row % kTileOutputs, static_cast<int64_t>(t),
                 halves[2 * t] | static_cast<uint32_t>(halves[2 * t + 1]) << 16);
    }
  });
  return packed;
}

float largest_weight(const WeightView& source) {
  if (source.layout == Layout::kRowsF16 || source.layout == Layout::kTilesF16) return kMaxF16;
  return tbb::parallel_reduce(
      tbb::blocked_range<int64_t>(0, source.rows), 0.0f,
      [&](const tbb::blocked_range<int64_t>& rows, float largest) {
        std::vector<float> room(static_cast<size_t>(source.cols));
        for (int64_t row = rows.begin(); row < rows.end(); ++row)
          largest = std::max(largest, largest_magnitude(row_of(source, row, room), source.cols));
        return largest;
      },
      [](float a, float b) { return std::max(a, b); });
}

bool reaches(const Format& format, float largest) {
  if (format.group == 0) return largest <= kRoundsToMaxF16;
  const Levels levels = levels_of(format);
  // A minimum may be as large as a weight, and the scale span twice that.
  const auto steps = static_cast<float>(levels.highest - levels.lowest) / 2;
  return largest / (format.minimum ? 1 : steps) <= kRoundsToMaxF16;
}

}  // namespace klens
