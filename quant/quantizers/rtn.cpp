#include "quant/quantizers/rtn.h"

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

// The codes of one row and its packed words, reused from row to row.
struct RowScratch {
  RowScratch(int64_t cols, int64_t col_tiles, int64_t tile_cols)
      : weights(static_cast<size_t>(cols)),
        codes(static_cast<size_t>(col_tiles * tile_cols)),
        halves(static_cast<size_t>(col_tiles * tile_cols)) {}
  std::vector<float> weights;    // [cols]
  std::vector<uint8_t> codes;    // [cols padded to tiles]; integer formats
  std::vector<uint16_t> halves;  // [cols padded to tiles]; FP16
};

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

float largest_code(Layout layout) {
  return layout == Layout::kTilesI4 ? 7 : layout == Layout::kTilesI8 ? 127 : 1;
}

float group_scale(const float* w, int64_t count, float qmax) {
  const float scale = std::min(largest_magnitude(w, count) / qmax, kMaxF16);
  return std::max(f16_to_f32(f32_to_f16(scale)), 0x1p-24f);
}

// codes[i] = clamp(rne(w[i] / scale), -qmax, qmax) + offset. Clamping first is the same, as qmax is
// whole; the addition of 1.5 * 2^23 then rounds to nearest even and leaves the integer in the low
// bits.
void encode(const float* w, int64_t count, float scale, float qmax, int32_t offset,
            uint8_t* codes) {
  for (int64_t i = 0; i < count; ++i) {
    const float x = w[i] / scale;
    const float above = x < -qmax ? -qmax : x;
    const float inside = above > qmax ? qmax : above;
    codes[i] = static_cast<uint8_t>(std::bit_cast<int32_t>(inside + 0x1.8p23f) + offset);
  }
}

// Word t of a tile row's output is 4 bytes of tile t; the outputs' words lie side by side.
void put_word(std::byte* tiles, int64_t output, int64_t tile, uint32_t word) {
  std::memcpy(tiles + tile * kLineBytes + output * 4, &word, 4);
}

void pack_f16(const float* w, int64_t row, const WeightView& view, RowScratch& scratch,
              std::byte* tiles) {
  uint16_t* halves = scratch.halves.data();
  const int64_t cols = view.cols;
  for (int64_t c = 0; c < cols; ++c) halves[c] = float_to_finite_half(w[c]);
  for (int64_t t = 0; t < view.col_tiles(); ++t)
    put_word(tiles, row % kTileOutputs, t,
             halves[2 * t] | static_cast<uint32_t>(halves[2 * t + 1]) << 16);
}

void pack_integers(const float* w, int64_t row, const WeightView& view, RowScratch& scratch,
                   std::byte* tiles, uint16_t* scales) {
  const bool int4 = view.layout == Layout::kTilesI4;
  const float qmax = largest_code(view.layout);
  const int64_t output = row % kTileOutputs;
  uint8_t* codes = scratch.codes.data();
  for (int64_t g = 0; g < view.groups(); ++g) {
    const int64_t begin = g * view.group, count = std::min(view.cols - begin, view.group);
    const float scale = group_scale(w + begin, count, qmax);
    scales[g * kTileOutputs + output] = f32_to_f16(scale);
    encode(w + begin, count, scale, qmax, int4 ? 8 : 0, codes + begin);
  }
  for (int64_t t = 0; t < view.col_tiles(); ++t) {
    uint32_t low = 0, high = 0;
    std::memcpy(&low, codes + t * tile_cols(view.layout), 4);
    if (int4) std::memcpy(&high, codes + t * 8 + 4, 4);
    put_word(tiles, output, t, low | high << 4);
  }
}

}  // namespace

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
  return largest / largest_code(format.layout) <= kRoundsToMaxF16;
}

PackedWeight quantize_rtn(const Format& format, const WeightView& source) {
  PackedWeight packed{.format = &format,
                      .rows = source.rows,
                      .cols = source.cols,
                      .qweight = AlignedBuffer(weight_bytes(format, source.rows, source.cols)),
                      .scale = AlignedBuffer(scale_bytes(format, source.rows, source.cols))};
  const WeightView view = packed.view();
  const bool int4 = format.layout == Layout::kTilesI4;
  // Padding is zero-valued weights, and zero is stored as 8 in a nibble.
  if (int4) std::fill_n(packed.qweight.data(), packed.qweight.size(), std::byte{0x88});
  auto* scales = reinterpret_cast<uint16_t*>(packed.scale.data());
  tbb::parallel_for(int64_t{0}, view.row_tiles(), [&](int64_t tile_row) {
    RowScratch scratch(view.cols, view.col_tiles(), tile_cols(view.layout));
    if (int4) std::fill(scratch.codes.begin(), scratch.codes.end(), uint8_t{8});
    std::byte* tiles = packed.qweight.data() + tile_row * view.col_tiles() * tile_bytes(view.layout);
    uint16_t* tile_scales = scales + tile_row * view.groups() * kTileOutputs;
    const int64_t end = std::min(view.rows, (tile_row + 1) * kTileOutputs);
    for (int64_t row = tile_row * kTileOutputs; row < end; ++row) {
      const float* w = row_of(source, row, scratch.weights);
      if (format.layout == Layout::kTilesF16)
        pack_f16(w, row, view, scratch, tiles);
      else
        pack_integers(w, row, view, scratch, tiles, tile_scales);
    }
  });
  return packed;
}

}  // namespace klens
