// The block formats, as gguf-py/gguf/quants.py describes them. All of them keep the halves (or, of
// two bits, the quarters) of some run of values in the bits of the same bytes.
#include "loaders/gguf/block_types.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "kernels/half.h"

namespace klens {
namespace {

constexpr int kSmall = 32;  // values in a block of the plain formats

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
void nibbles(const uint8_t* pairs, int zero, int8_t* q) {
  for (int i = 0; i < kSmall / 2; ++i) {
    q[i] = static_cast<int8_t>((pairs[i] & 15) - zero);
    q[i + kSmall / 2] = static_cast<int8_t>((pairs[i] >> 4) - zero);
  }
}

// The same with the fifth bits of all values in one word.
void nibbles_and_bits(const uint8_t* pairs, uint32_t high, int zero, int8_t* q) {
  for (int i = 0; i < kSmall / 2; ++i) {
    const int low_bit = static_cast<int>(high >> i & 1) << 4;
    const int high_bit = static_cast<int>(high >> (i + kSmall / 2) & 1) << 4;
    q[i] = static_cast<int8_t>(((pairs[i] & 15) | low_bit) - zero);
    q[i + kSmall / 2] = static_cast<int8_t>(((pairs[i] >> 4) | high_bit) - zero);
  }
}

void q4_0(const uint8_t* block, GgufBlock& to) {
  to.scale[0] = load_f16(block);
  nibbles(block + 2, 8, to.q);
}

void q4_1(const uint8_t* block, GgufBlock& to) {
  to.scale[0] = load_f16(block);
  to.min[0] = load_f16(block + 2);
  nibbles(block + 4, 0, to.q);
}

void q5_0(const uint8_t* block, GgufBlock& to) {
  to.scale[0] = load_f16(block);
  nibbles_and_bits(block + 6, load_u32(block + 2), 16, to.q);
}

void q5_1(const uint8_t* block, GgufBlock& to) {
  to.scale[0] = load_f16(block);
  to.min[0] = load_f16(block + 2);
  nibbles_and_bits(block + 8, load_u32(block + 4), 0, to.q);
}

void q8_0(const uint8_t* block, GgufBlock& to) {
  to.scale[0] = load_f16(block);
  std::memcpy(to.q, block + 2, kSmall);
}

// Two bits of each value: 128 values take 32 bytes, 32 of them the same bits of all bytes.
void q2_k(const uint8_t* block, GgufBlock& to) {
  const float d = load_f16(block + 80), dmin = load_f16(block + 82);
  for (int group = 0; group < 16; ++group) {
    to.scale[group] = d * static_cast<float>(block[group] & 15);
    to.min[group] = -(dmin * static_cast<float>(block[group] >> 4));
  }
  for (int run = 0; run < 8; ++run) {
    const uint8_t* quarters = block + 16 + 32 * (run / 4);
    for (int i = 0; i < 32; ++i)
      to.q[32 * run + i] = static_cast<int8_t>(quarters[i] >> (2 * (run % 4)) & 3);
  }
}

// The same with a third bit, which says that 4 is not to be taken away. Scales are of 6 bits: the
// low four of two in each of eight bytes, the high two of four in each of four more.
void q3_k(const uint8_t* block, GgufBlock& to) {
  const uint8_t* scales = block + 96;
  const float d = load_f16(block + 108);
  for (int group = 0; group < 16; ++group) {
    const int low = scales[group % 8] >> (group / 8 * 4) & 15;
    const int high = scales[8 + group % 4] >> (group / 4 * 2) & 3;
    to.scale[group] = d * static_cast<float>((low | high << 4) - 32);
  }
  for (int run = 0; run < 8; ++run) {
    const uint8_t* quarters = block + 32 + 32 * (run / 4);
    for (int i = 0; i < 32; ++i) {
      const int low = quarters[i] >> (2 * (run % 4)) & 3;
      to.q[32 * run + i] = static_cast<int8_t>(low - ((block[i] >> run & 1) ^ 1) * 4);
    }
  }
}

// Scale and minimum of each 32 values: 6 bits each, packed in 12 bytes behind what they multiply.
void k_scales(const uint8_t* block, GgufBlock& to) {
  const float d = load_f16(block), dmin = load_f16(block + 2);
  const uint8_t* packed = block + 4;
  for (int i = 0; i < 4; ++i) {
    const uint8_t first = packed[i], second = packed[4 + i], both = packed[8 + i];
    to.scale[i] = d * static_cast<float>(first & 63);
    to.min[i] = -(dmin * static_cast<float>(second & 63));
    to.scale[4 + i] = d * static_cast<float>((both & 15) | (first >> 2 & 48));
    to.min[4 + i] = -(dmin * static_cast<float>((both >> 4) | (second >> 2 & 48)));
  }
}

void q4_k(const uint8_t* block, GgufBlock& to) {
  k_scales(block, to);
  for (int group = 0; group < 8; ++group) {
    const uint8_t* pairs = block + 16 + group / 2 * 32;
    for (int i = 0; i < 32; ++i)
      to.q[32 * group + i] = static_cast<int8_t>(pairs[i] >> (group % 2 * 4) & 15);
  }
}

void q5_k(const uint8_t* block, GgufBlock& to) {
  k_scales(block, to);
  const uint8_t* high = block + 16;
  for (int group = 0; group < 8; ++group) {
    const uint8_t* pairs = block + 48 + group / 2 * 32;
    for (int i = 0; i < 32; ++i)
      to.q[32 * group + i] =
          static_cast<int8_t>((pairs[i] >> (group % 2 * 4) & 15) | (high[i] >> group & 1) << 4);
  }
}

// 128 values take 64 bytes of low nibbles (two sets of 32 low, two of 32 high) and 32 of high
// pairs.
void q6_k(const uint8_t* block, GgufBlock& to) {
  const float d = load_f16(block + 208);
  for (int group = 0; group < 16; ++group)
    to.scale[group] = d * static_cast<float>(static_cast<int8_t>(block[192 + group]));
  for (int run = 0; run < 8; ++run) {
    const int half = run / 4, quarter = run % 4;
    const uint8_t* pairs = block + 64 * half + 32 * (quarter % 2);
    const uint8_t* high = block + 128 + 32 * half;
    for (int i = 0; i < 32; ++i) {
      const int low = pairs[i] >> (quarter / 2 * 4) & 15;
      to.q[32 * run + i] = static_cast<int8_t>((low | (high[i] >> (2 * quarter) & 3) << 4) - 32);
    }
  }
}

constexpr int8_t kIq4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                   1,    13,   25,  38,  53,  69,  89,  113};
// e2m1, doubled.
constexpr int8_t kMxfp4Values[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

// Nibbles that stand for the numbers of a table.
void looked_up(const uint8_t* pairs, const int8_t* table, int8_t* q) {
  for (int i = 0; i < kSmall / 2; ++i) {
    q[i] = table[pairs[i] & 15];
    q[i + kSmall / 2] = table[pairs[i] >> 4];
  }
}

void iq4_nl(const uint8_t* block, GgufBlock& to) {
  to.scale[0] = load_f16(block);
  looked_up(block + 2, kIq4Values, to.q);
}

void iq4_xs(const uint8_t* block, GgufBlock& to) {
  const float d = load_f16(block);
  const int high = block[2] | block[3] << 8;
  for (int group = 0; group < 8; ++group) {
    const int low = block[4 + group / 2] >> (group % 2 * 4) & 15;
    to.scale[group] = d * static_cast<float>((low | (high >> (2 * group) & 3) << 4) - 32);
    looked_up(block + 8 + 16 * group, kIq4Values, to.q + 32 * group);
  }
}

// The scale is a power of two, half of what the exponent says as the table's numbers are doubled.
void mxfp4(const uint8_t* block, GgufBlock& to) {
  const uint32_t e = block[0];
  to.scale[0] = std::bit_cast<float>(e < 2 ? 0x00200000u << e : (e - 1) << 23);
  looked_up(block + 1, kMxfp4Values, to.q);
}

constexpr GgufBlockType kBlockTypes[] = {
    {GgmlType::kQ4_0, 32, false, Layout::kTilesI4, false, q4_0},
    {GgmlType::kQ4_1, 32, true, Layout::kTilesI4, false, q4_1},
    {GgmlType::kQ5_0, 32, false, Layout::kTilesI5, false, q5_0},
    {GgmlType::kQ5_1, 32, true, Layout::kTilesI5, false, q5_1},
    {GgmlType::kQ8_0, 32, false, Layout::kTilesI8, false, q8_0},
    {GgmlType::kQ2K, 16, true, Layout::kTilesI4, true, q2_k},
    {GgmlType::kQ3K, 16, false, Layout::kTilesI4, true, q3_k},
    {GgmlType::kQ4K, 32, true, Layout::kTilesI4, true, q4_k},
    {GgmlType::kQ5K, 32, true, Layout::kTilesI5, true, q5_k},
    {GgmlType::kQ6K, 16, false, Layout::kTilesI6, true, q6_k},
    {GgmlType::kIq4Nl, 32, false, Layout::kTilesI8, false, iq4_nl},
    {GgmlType::kIq4Xs, 32, false, Layout::kTilesI8, true, iq4_xs},
    {GgmlType::kMxfp4, 32, false, Layout::kTilesI5, false, mxfp4},
};

}  // namespace

const GgufBlockType* find_block_type(GgmlType type) {
  const auto* row = std::find_if(std::begin(kBlockTypes), std::end(kBlockTypes),
                                 [&](const GgufBlockType& known) { return known.type == type; });
  return row == std::end(kBlockTypes) ? nullptr : row;
}

}  // namespace klens
