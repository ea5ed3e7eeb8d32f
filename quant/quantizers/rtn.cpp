#include "quant/quantizers/rtn.h"

#include <tbb/parallel_for.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/check.h"
#include "kernels/half.h"

namespace klens {
namespace {

constexpr float kMaxHalf = 65504.0f;

// One row of 16-output tile row `row / 16`, output `row % 16` of each tile.
struct RowWriter {
  std::byte* tiles;  // the tile row's first tile
  int64_t output;

  void put_f16(int64_t col, float w) const {
    const uint16_t half = f32_to_f16(std::clamp(w, -kMaxHalf, kMaxHalf));
    auto* lane = reinterpret_cast<uint16_t*>(tiles + col / 2 * kTileBytes) + output * 2 + col % 2;
    *lane = half;
  }
  void put_i8(int64_t col, int q) const {
    tiles[col / 4 * kTileBytes + output * 4 + col % 4] = static_cast<std::byte>(q);
  }
  void put_i4(int64_t col, int q) const {
    std::byte& b = tiles[col / 8 * kTileBytes + output * 4 + col % 4];
    const auto nibble = static_cast<unsigned>(q + 8);
    b = col % 8 < 4 ? (b & std::byte{0xf0}) | std::byte(nibble)
                    : (b & std::byte{0x0f}) | std::byte(nibble << 4);
  }
};

float group_scale(const float* w, int64_t count, float qmax) {
  float largest = 0;
  for (int64_t i = 0; i < count; ++i) largest = std::max(largest, std::fabs(w[i]));
  const float scale = f16_to_f32(f32_to_f16(std::min(largest / qmax, kMaxHalf)));
  return std::max(scale, 0x1p-24f);
}

void pack_row(const Format& format, const WeightView& view, const float* w, int64_t row,
              std::byte* qweight, uint16_t* scales) {
  const int64_t tile_row = row / kTileOutputs, output = row % kTileOutputs;
  const RowWriter out{qweight + tile_row * view.col_tiles() * kTileBytes, output};
  if (format.layout == Layout::kTilesF16) {
    for (int64_t c = 0; c < view.cols; ++c) out.put_f16(c, w[c]);
    return;
  }
  const bool int4 = format.layout == Layout::kTilesI4;
  const float qmax = int4 ? 7.0f : 127.0f;
  for (int64_t g = 0; g < view.groups(); ++g) {
    const int64_t begin = g * view.group, end = std::min(view.cols, begin + view.group);
    const float scale = group_scale(w + begin, end - begin, qmax);
    scales[(tile_row * view.groups() + g) * kTileOutputs + output] = f32_to_f16(scale);
    for (int64_t c = begin; c < end; ++c) {
      const int q = static_cast<int>(std::clamp(std::nearbyint(w[c] / scale), -qmax, qmax));
      int4 ? out.put_i4(c, q) : out.put_i8(c, q);
    }
  }
}

}  // namespace

PackedWeight quantize_rtn(const Format& format, const WeightView& source) {
  PackedWeight packed{.format = &format,
                      .rows = source.rows,
                      .cols = source.cols,
                      .qweight = AlignedBuffer(weight_bytes(format, source.rows, source.cols)),
                      .scale = AlignedBuffer(scale_bytes(format, source.rows, source.cols))};
  const WeightView view = packed.view();
  // Padding is zero-valued weights, and zero is stored as 8 in a nibble.
  if (format.layout == Layout::kTilesI4)
    std::fill_n(packed.qweight.data(), packed.qweight.size(), std::byte{0x88});
  auto* scales = reinterpret_cast<uint16_t*>(packed.scale.data());
  tbb::parallel_for(int64_t{0}, view.row_tiles(), [&](int64_t tile_row) {
    std::vector<float> w(static_cast<size_t>(source.cols));
    const int64_t end = std::min(source.rows, (tile_row + 1) * kTileOutputs);
    for (int64_t row = tile_row * kTileOutputs; row < end; ++row) {
      expand_row(source, row, w.data());
      pack_row(format, view, w.data(), row, packed.qweight.data(), scales);
    }
  });
  return packed;
}

}  // namespace klens
