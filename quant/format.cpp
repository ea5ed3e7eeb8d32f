#include "quant/format.h"

#include <algorithm>

namespace klens {

std::string default_formats() {
  return names_where(kFormats, ",", [](const Format& format) { return format.candidate; });
}

double bits_per_weight(const Format& format) {
  constexpr int64_t kSide = 1 << 14;
  return 8 * static_cast<double>(packed_bytes(format, kSide, kSide)) / kSide / kSide;
}

size_t weight_bytes(const Format& format, int64_t rows, int64_t cols) {
  return tiles_bytes(format.layout, rows, cols);
}

size_t scale_bytes(const Format& format, int64_t rows, int64_t cols) {
  const WeightView view = packed_view(format, rows, cols, nullptr, nullptr);
  const size_t bytes = static_cast<size_t>(view.row_tiles() * view.groups() * kTileOutputs) *
                       sizeof(uint16_t) * (format.minimum ? 2 : 1);
  return (bytes + 63) / 64 * 64;
}

WeightView packed_view(const Format& format, int64_t rows, int64_t cols, const void* qweight,
                       const void* scale) {
  WeightView view{
      .layout = format.layout,
      .rows = rows,
      .cols = cols,
      .group = format.group == 0 ? 0 : std::min(format.group, std::max<int64_t>(cols, 1)),
      .data = qweight,
      .scale = static_cast<const uint16_t*>(scale)};
  if (format.minimum && scale != nullptr)
    view.min = view.scale + view.row_tiles() * view.groups() * kTileOutputs;
  return view;
}

}  // namespace klens
