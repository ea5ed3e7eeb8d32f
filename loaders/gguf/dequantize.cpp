// The block formats, as gguf-py/gguf/quants.py describes them: every product and sum is rounded to
// FP32 in the order given there.
#include "loaders/gguf/dequantize.h"

#include <cstring>

#include "kernels/half.h"

namespace klens {
namespace {

constexpr int kSmall = 32;   // values in a block of the plain formats
constexpr int kLarge = 256;  // values in a block of the K formats

uint32_t load_u32(const uint8_t* bytes) {
  uint32_t value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

float load_f16(const uint8_t* bytes) {
  uint16_t half;
  std::memcpy(&half, bytes, sizeof half);
  return f16_to_f32(half);
}

// Low nibbles are the first half of the block, high nibbles the second.
void q4_0(const uint8_t* block, float* values) {
  const float d = load_f16(block);
  for (int i = 0; i < kSmall / 2; ++i) {
    const uint8_t pair = block[2 + i];
    values[i] = d * static_cast<float>((pair & 15) - 8);
    values[i + kSmall / 2] = d * static_cast<float>((pair >> 4) - 8);
  }
}

void q4_1(const uint8_t* block, float* values) {
  const float d = load_f16(block), m = load_f16(block + 2);
  for (int i = 0; i < kSmall / 2; ++i) {
    const uint8_t pair = block[4 + i];
    values[i] = d * static_cast<float>(pair & 15) + m;
    values[i + kSmall / 2] = d * static_cast<float>(pair >> 4) + m;
  }
}

// The fifth bits of all values in one word.
void q5_0(const uint8_t* block, float* values) {
  const float d = load_f16(block);
  const uint32_t high = load_u32(block + 2);
  for (int i = 0; i < kSmall / 2; ++i) {
    const int pair = block[6 + i];
    const int low_bit = static_cast<int>(high >> i & 1) << 4;
    const int high_bit = static_cast<int>(high >> (i + kSmall / 2) & 1) << 4;
    values[i] = d * static_cast<float>(((pair & 15) | low_bit) - 16);
    values[i + kSmall / 2] = d * static_cast<float>(((pair >> 4) | high_bit) - 16);
  }
}

void q5_1(const uint8_t* block, float* values) {
  const float d = load_f16(block), m = load_f16(block + 2);
  const uint32_t high = load_u32(block + 4);
  for (int i = 0; i < kSmall / 2; ++i) {
    const int pair = block[8 + i];
    const int low_bit = static_cast<int>(high >> i & 1) << 4;
    const int high_bit = static_cast<int>(high >> (i + kSmall / 2) & 1) << 4;
    values[i] = d * static_cast<float>((pair & 15) | low_bit) + m;
    values[i + kSmall / 2] = d * static_cast<float>((pair >> 4) | high_bit) + m;
  }
}

void q8_0(const uint8_t* block, float* values) {
  const float d = load_f16(block);
  for (int i = 0; i < kSmall; ++i)
    values[i] = static_cast<float>(static_cast<int8_t>(block[2 + i])) * d;
}

// Scale and minimum of each 32 values of a K block: 6 bits each, packed in 12 bytes.
struct Scales {
  float scale[8], min[8];
};

Scales k_scales(const uint8_t* block) {
  const float d = load_f16(block), dmin = load_f16(block + 2);
  const uint8_t* packed = block + 4;
  Scales result{};
  for (int i = 0; i < 4; ++i) {
    const uint8_t first = packed[i], second = packed[4 + i], both = packed[8 + i];
    result.scale[i] = d * static_cast<float>(first & 63);
    result.min[i] = dmin * static_cast<float>(second & 63);
    result.scale[4 + i] = d * static_cast<float>((both & 15) | (first >> 2 & 48));
    result.min[4 + i] = dmin * static_cast<float>((both >> 4) | (second >> 2 & 48));
  }
  return result;
}

void q4_k(const uint8_t* block, float* values) {
  const Scales scales = k_scales(block);
  const uint8_t* pairs = block + 16;
  for (int group = 0; group < 8; ++group) {
    const uint8_t* source = pairs + group / 2 * 32;
    const int shift = group % 2 * 4;
    for (int i = 0; i < 32; ++i)
      values[32 * group + i] =
          scales.scale[group] * static_cast<float>(source[i] >> shift & 15) - scales.min[group];
  }
}

void q5_k(const uint8_t* block, float* values) {
  const Scales scales = k_scales(block);
  const uint8_t* high = block + 16;
  const uint8_t* pairs = block + 48;
  for (int group = 0; group < 8; ++group) {
    const uint8_t* source = pairs + group / 2 * 32;
    const int shift = group % 2 * 4;
    for (int i = 0; i < 32; ++i) {
      const int q = (source[i] >> shift & 15) | (high[i] >> group & 1) << 4;
      values[32 * group + i] = scales.scale[group] * static_cast<float>(q) - scales.min[group];
    }
  }
}

// 128 values take 64 bytes of low nibbles (two sets of 32 low, two of 32 high) and 32 of high
// pairs.
void q6_k(const uint8_t* block, float* values) {
  const uint8_t* low = block;
  const uint8_t* high = block + 128;
  const uint8_t* scales = block + 192;
  const float d = load_f16(block + 208);
  for (int group = 0; group < 8; ++group) {
    const int half = group / 4, quarter = group % 4;
    const uint8_t* nibbles = low + 64 * half + 32 * (quarter % 2);
    const uint8_t* pairs = high + 32 * half;
    for (int i = 0; i < 32; ++i) {
      const int q = (nibbles[i] >> (quarter / 2 * 4) & 15) | (pairs[i] >> (2 * quarter) & 3) << 4;
      const auto scale = static_cast<int8_t>(scales[2 * group + i / 16]);
      values[32 * group + i] = d * static_cast<float>(scale) * static_cast<float>(q - 32);
    }
  }
}

template <void (*Block)(const uint8_t*, float*)>
void blocks(const std::byte* row, int64_t cols, int values_each, size_t bytes_each, float* values) {
  const auto* block = reinterpret_cast<const uint8_t*>(row);
  for (int64_t i = 0; i < cols; i += values_each, block += bytes_each) Block(block, values + i);
}

template <class Convert>
void halves(const std::byte* row, int64_t cols, float* values, Convert convert) {
  for (int64_t i = 0; i < cols; ++i) {
    uint16_t half;
    std::memcpy(&half, row + 2 * i, sizeof half);
    values[i] = convert(half);
  }
}

}  // namespace

void dequantize_row(GgmlType type, const std::byte* row, int64_t cols, float* values) {
  switch (type) {
    case GgmlType::kF32:
      std::memcpy(values, row, static_cast<size_t>(cols) * sizeof(float));
      return;
    case GgmlType::kF16:
      return halves(row, cols, values, f16_to_f32);
    case GgmlType::kBf16:
      return halves(row, cols, values, bf16_to_f32);
    case GgmlType::kQ4_0:
      return blocks<q4_0>(row, cols, kSmall, 18, values);
    case GgmlType::kQ4_1:
      return blocks<q4_1>(row, cols, kSmall, 20, values);
    case GgmlType::kQ5_0:
      return blocks<q5_0>(row, cols, kSmall, 22, values);
    case GgmlType::kQ5_1:
      return blocks<q5_1>(row, cols, kSmall, 24, values);
    case GgmlType::kQ8_0:
      return blocks<q8_0>(row, cols, kSmall, 34, values);
    case GgmlType::kQ4K:
      return blocks<q4_k>(row, cols, kLarge, 144, values);
    case GgmlType::kQ5K:
      return blocks<q5_k>(row, cols, kLarge, 176, values);
    case GgmlType::kQ6K:
      return blocks<q6_k>(row, cols, kLarge, 210, values);
  }
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
