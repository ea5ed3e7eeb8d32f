#include "loaders/gguf/dequantize.h"

#include <cstring>

#include "kernels/half.h"
#include "loaders/gguf/block_types.h"

namespace klens {
namespace {

template <class Convert>
void halves(const std::byte* row, int64_t cols, float* values, Convert convert) {
  for (int64_t i = 0; i < cols; ++i) {
    uint16_t half;
    std::memcpy(&half, row + 2 * i, sizeof half);
    values[i] = convert(half);
  }
}

void blocks(const GgufBlockType& type, const std::byte* row, int64_t cols, float* values) {
  const GgmlTypeInfo& info = ggml_type_info(type.type);
  GgufBlock block;
  for (int64_t begin = 0; begin < cols; begin += info.block, row += info.bytes) {
    type.decode(reinterpret_cast<const uint8_t*>(row), block);
    for (int64_t g = 0; g < info.block / type.group; ++g) {
      const int8_t* q = block.q + g * type.group;
      float* to = values + begin + g * type.group;
      for (int64_t i = 0; i < type.group; ++i) to[i] = block.scale[g] * static_cast<float>(q[i]);
      if (!type.minimum) continue;
      for (int64_t i = 0; i < type.group; ++i) to[i] += block.min[g];
    }
  }
}

}  // namespace

void dequantize_row(GgmlType type, const std::byte* row, int64_t cols, float* values) {
  if (const GgufBlockType* quantised = find_block_type(type))
    return blocks(*quantised, row, cols, values);
  if (type == GgmlType::kF16) return halves(row, cols, values, f16_to_f32);
  if (type == GgmlType::kBf16) return halves(row, cols, values, bf16_to_f32);
  std::memcpy(values, row, static_cast<size_t>(cols) * sizeof(float));
}

bool row_to_f16(const float* values, int64_t count, uint16_t* halves) {
  unsigned bad = 0;
  for (int64_t i = 0; i < count; ++i) {
    halves[i] = f32_to_f16(values[i]);
    bad |= static_cast<unsigned>((halves[i] & 0x7c00u) == 0x7c00u);
  }
  return bad == 0;
}

}  // namespace klens
