#include "quant/quantizers/rtn.h"

#include <algorithm>
#include <array>
#include <bit>
#include <catch2/catch.hpp>
#include <cmath>
#include <random>
#include <vector>

#include "kernels/half.h"
#include "quant/quantizers/pack.h"
#include "rtn_fixture.h"

namespace klens {
namespace {

std::vector<float> random_weights(int64_t rows, int64_t cols, uint32_t seed) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal(0, 0.05f);
  std::vector<float> w(static_cast<size_t>(rows * cols));
  for (float& x : w) x = normal(rng);
  return w;
}

WeightView rows_f32(const std::vector<float>& w, int64_t rows, int64_t cols) {
  return {.layout = Layout::kRowsF32, .rows = rows, .cols = cols, .data = w.data()};
}

PackedWeight rtn(const Format& format, const WeightView& source) {
  return quantize_rtn(format, source, {});
}

unsigned byte_at(const AlignedBuffer& buffer, size_t i) {
  return std::to_integer<unsigned>(buffer.data()[i]);
}

int stored_at(const PackedWeight& p, int64_t row, int64_t col) {
  return integer_at(p.view(), row, col);
}

// Of a scale or a minimum.
uint16_t half_at(const PackedWeight& p, const uint16_t* halves, int64_t row, int64_t col) {
  const WeightView view = p.view();
  return halves[(row / 16 * view.groups() + col / view.group) * 16 + row % 16];
}
uint16_t scale_at(const PackedWeight& p, int64_t row, int64_t col) {
  return half_at(p, p.view().scale, row, col);
}

// The rule in the plainest form, for one weight.
struct Expected {
  int integer;
  float scale, min;
};
Expected expected_at(const Format& format, const std::vector<float>& w, int64_t cols, int64_t row,
                     int64_t col) {
  const Levels levels = levels_of(format);
  const auto lowest = static_cast<float>(levels.lowest);
  const auto highest = static_cast<float>(levels.highest);
  const int64_t group = std::min(format.group, cols), begin = col / group * group;
  const auto first = w.begin() + row * cols + begin;
  const auto [least, most] = std::minmax_element(first, first + std::min(group, cols - begin));
  const bool both = levels.lowest == -levels.highest;
  float scale = both               ? std::max(*most, -*least) / highest
                : format.minimum   ? *most / highest - *least / highest
                : -*least >= *most ? *least / lowest
                                   : *most / lowest;
  const float min = format.minimum ? f16_to_f32(f32_to_f16(*least)) : 0;
  scale = std::copysign(std::max(std::fabs(f16_to_f32(f32_to_f16(scale))), 0x1p-24f),
                        scale == 0 ? 1 : scale);
  const float x = std::nearbyint((w[static_cast<size_t>(row * cols + col)] - min) / scale);
  return {static_cast<int>(std::min(std::max(x, lowest), highest)), scale, min};
}

}  // namespace

TEST_CASE("int8 golden bytes", "[rtn]") {
  // Row 0: largest 127, so scale 1 = 0x3c00. Row 1 is zero: scale 2^-24 = 0x0001.
  const std::vector<float> w = {127, -1, 0.5f, 1.5f, -2.5f, 0, 0, 0, 0, 0};
  const PackedWeight p = rtn(*find_format("int8"), rows_f32(w, 2, 5));
  REQUIRE(p.qweight.size() == 128);
  REQUIRE(p.scale.size() == 64);
  const unsigned tile0[] = {0x7f, 0xff, 0x00, 0x02}, tile1[] = {0xfe, 0, 0, 0};
  for (size_t i = 0; i < 64; ++i) {
    CAPTURE(i);
    CHECK(byte_at(p.qweight, i) == (i < 4 ? tile0[i] : 0));
    CHECK(byte_at(p.qweight, 64 + i) == (i < 4 ? tile1[i] : 0));
    const unsigned scale = i == 1 ? 0x3c : i == 2 ? 0x01 : 0;
    CHECK(byte_at(p.scale, i) == scale);
  }
}

TEST_CASE("int4 golden bytes", "[rtn]") {
  // Columns 0..3 are low nibbles, 4..7 high ones, each value + 8; ties go to even.
  std::vector<float> w = {-8, 7, 0.5f, 1.5f, 1, 2, -3, -0.5f, 6};
  for (const char* name : {"int4g32", "int4g64", "int4g128"}) {
    CAPTURE(name);
    const PackedWeight p = rtn(*find_format(name), rows_f32(w, 1, 9));
    REQUIRE(p.qweight.size() == 128);
    const unsigned tile0[] = {0x90, 0xaf, 0x58, 0x8a}, tile1[] = {0x8e, 0x88, 0x88, 0x88};
    for (size_t i = 0; i < 64; ++i) {
      CAPTURE(i);
      CHECK(byte_at(p.qweight, i) == (i < 4 ? tile0[i] : 0x88));
      CHECK(byte_at(p.qweight, 64 + i) == (i < 4 ? tile1[i] : 0x88));
      CHECK(byte_at(p.scale, i) == (i == 1 ? 0x3cu : 0u));
    }
  }
}

// Codes of which each group has the least and the greatest, so that its scale and its minimum are
// known: the bytes are those that loaders/FORMAT.md tells.
TEST_CASE("golden bytes of tiles of 32 columns", "[rtn]") {
  const int codes[32] = {0, 63, 37, 10, 5,  22, 49, 56, 43, 18, 29, 36, 7,  60, 14, 25,
                         0, 31, 58, 3,  44, 21, 8,  50, 39, 13, 62, 27, 33, 16, 51, 6};
  using Line = std::array<unsigned, 4>;
  struct Case {
    const char* format;
    int bits;
    std::vector<Line> lines;  // of the first output
  };
  const Case cases[] = {
      {"int6g16",
       6,
       {{0x50, 0x6f, 0x15, 0x8a},
        {0x7b, 0xc2, 0xed, 0x94},
        {0xc0, 0x5f, 0x8a, 0x23},
        {0x17, 0x0d, 0x3e, 0x6b},
        {0x20, 0xd7, 0x1e, 0x6c},
        {0xa8, 0x45, 0xf3, 0x1c}}},
      {"int5g32",
       5,
       {{0x50, 0x6f, 0x15, 0x8a},
        {0x7b, 0xc2, 0xed, 0x94},
        {0xc0, 0x5f, 0x8a, 0x23},
        {0x17, 0x0d, 0x3e, 0x6b},
        {0x00, 0xbf, 0xd6, 0x6a}}},
      {"int3g16",
       3,
       {{0xf4, 0x2b, 0x95, 0x42}, {0x70, 0x17, 0xe2, 0xbb}, {0x6a, 0x7b, 0x4d, 0x84}}},
      {"int2ag16", 2, {{0xf4, 0x2b, 0x95, 0x42}, {0x70, 0x17, 0xe2, 0xbb}}},
  };
  for (const auto& [name, bits, lines] : cases) {
    CAPTURE(name);
    const Format& format = *find_format(name);
    // W = scale * (code - zero) + min, of the groups' scales 1 and 2, and minima -1 and 3.
    const int zero = format.minimum ? 0 : 1 << (bits - 1);
    std::vector<float> w(32);
    for (size_t i = 0; i < 32; ++i) {
      const bool second = format.group == 16 && i >= 16;
      const int integer = (codes[i] & ((1 << bits) - 1)) - zero;
      w[i] = static_cast<float>(integer * (second ? 2 : 1));
      if (format.minimum) w[i] += second ? 3 : -1;
    }
    const PackedWeight p = rtn(format, rows_f32(w, 1, 32));
    REQUIRE(p.qweight.size() == lines.size() * 64);
    int wrong = 0;
    for (size_t line = 0; line < lines.size(); ++line)
      for (size_t j = 0; j < 4; ++j) wrong += byte_at(p.qweight, line * 64 + j) != lines[line][j];
    CHECK(wrong == 0);
    const uint16_t first = 0x3c00, second = format.group == 16 ? 0x4000 : 0x3c00;
    CHECK(scale_at(p, 0, 0) == first);
    CHECK(scale_at(p, 0, 31) == second);
    if (!format.minimum) continue;
    CHECK(half_at(p, p.view().min, 0, 0) == 0xbc00);
    CHECK(half_at(p, p.view().min, 0, 31) == 0x4200);
  }
}

TEST_CASE("fp16 golden bytes", "[rtn]") {
  const std::vector<float> w = {1, -2, 1e6f, 0x1p-24f, 0x1p-25f, -1e6f};
  const PackedWeight p = rtn(*find_format("fp16"), rows_f32(w, 2, 3));
  REQUIRE(p.qweight.size() == 128);
  CHECK(p.scale.size() == 0);
  // [tile][output][2 columns], little-endian halves; saturated at 65504 = 0x7bff.
  const unsigned tile0[] = {0x00, 0x3c, 0x00, 0xc0, 0x01, 0x00, 0x00, 0x00};
  const unsigned tile1[] = {0xff, 0x7b, 0, 0, 0xff, 0xfb, 0, 0};
  for (size_t i = 0; i < 64; ++i) {
    CAPTURE(i);
    CHECK(byte_at(p.qweight, i) == (i < 8 ? tile0[i] : 0));
    CHECK(byte_at(p.qweight, 64 + i) == (i < 8 ? tile1[i] : 0));
  }
}

TEST_CASE("rtn agrees with numpy bit for bit", "[rtn]") {
  using namespace rtn_fixture;
  std::vector<float> w;
  for (uint32_t bits : kWeightBits) w.push_back(std::bit_cast<float>(bits));
  struct Case {
    const char* format;
    const int8_t* integers;  // [kRows][kCols]
    const uint16_t* scales;  // [kRows][groups]
    const uint16_t* minima = nullptr;
  };
  const Case cases[] = {{"int8", kInt8, kInt8Scales},
                        {"int8g32", kInt8g32, kInt8g32Scales},
                        {"int6g16", kInt6g16, kInt6g16Scales},
                        {"int6g32", kInt6g32, kInt6g32Scales},
                        {"int5ag32", kInt5ag32, kInt5ag32Scales, kInt5ag32Minima},
                        {"int5g32", kInt5g32, kInt5g32Scales},
                        {"int4ag32", kInt4ag32, kInt4ag32Scales, kInt4ag32Minima},
                        {"int4g32", kInt4g32, kInt4g32Scales},
                        {"int4g64", kInt4g64, kInt4g64Scales},
                        {"int4g128", kInt4g128, kInt4g128Scales},
                        {"int3g16", kInt3g16, kInt3g16Scales},
                        {"int2ag16", kInt2ag16, kInt2ag16Scales, kInt2ag16Minima},
                        {"int3g32", kInt3g32, kInt3g32Scales},
                        {"int2g32", kInt2g32, kInt2g32Scales}};
  for (const Case& c : cases) {
    const PackedWeight p = rtn(*find_format(c.format), rows_f32(w, kRows, kCols));
    const int64_t group = std::min(p.format->group, kCols), groups = (kCols + group - 1) / group;
    int wrong = 0;
    for (int64_t row = 0; row < kRows; ++row)
      for (int64_t col = 0; col < kCols; ++col) {
        wrong += stored_at(p, row, col) != c.integers[row * kCols + col];
        wrong += scale_at(p, row, col) != c.scales[row * groups + col / group];
        if (c.minima != nullptr)
          wrong += half_at(p, p.view().min, row, col) != c.minima[row * groups + col / group];
      }
    CAPTURE(c.format);
    CHECK(wrong == 0);
  }
  const PackedWeight p = rtn(*find_format("fp16"), rows_f32(w, kRows, kCols));
  std::vector<float> row(kCols);
  for (int64_t r = 0; r < kRows; ++r) {
    expand_row(p.view(), r, row.data());
    for (int64_t c = 0; c < kCols; ++c)
      REQUIRE(row[static_cast<size_t>(c)] == f16_to_f32(kFp16[r * kCols + c]));
  }
}

TEST_CASE("rtn follows the rule at every size", "[rtn]") {
  for (const Format& format : kFormats)
    for (int64_t rows : {1, 2, 15, 16, 17, 32, 33})
      for (int64_t cols : {1, 7, 8, 15, 16, 48, 80, 100, 160, 257}) {
        const auto seed = static_cast<uint32_t>(rows * 1000 + cols);
        const std::vector<float> w = random_weights(rows, cols, seed);
        const PackedWeight p = rtn(format, rows_f32(w, rows, cols));
        CAPTURE(format.name, rows, cols);
        std::vector<float> got(static_cast<size_t>(cols));
        int wrong = 0, out_of_bound = 0;
        for (int64_t row = 0; row < rows; ++row) {
          expand_row(p.view(), row, got.data());
          for (int64_t col = 0; col < cols; ++col) {
            const float weight = w[static_cast<size_t>(row * cols + col)];
            const float back = got[static_cast<size_t>(col)];
            if (format.group == 0) {
              wrong += back != f16_to_f32(f32_to_f16(weight));
              continue;
            }
            const Expected e = expected_at(format, w, cols, row, col);
            wrong += back != static_cast<float>(e.integer) * e.scale + e.min;
            wrong += stored_at(p, row, col) != e.integer;
            // Half a step; a whole one at the end where there is one integer less. The largest
            // weight may lie outside by the scale's and the minimum's rounding.
            const Levels levels = levels_of(format);
            const auto steps = static_cast<float>(std::max(levels.highest, -levels.lowest));
            const bool even = format.minimum || levels.lowest == -levels.highest;
            out_of_bound += std::fabs(back - weight) >
                            std::fabs(e.scale) * ((even ? 0.5f : 1.0f) + steps * 0x1p-10f) +
                                std::fabs(e.min) * 0x1p-11f;
          }
        }
        CHECK(wrong == 0);
        CHECK(out_of_bound == 0);
      }
}

TEST_CASE("padding is zero weights", "[rtn]") {
  for (const Format& format : kFormats) {
    const std::vector<float> w = random_weights(17, 33, 3);
    const PackedWeight p = rtn(format, rows_f32(w, 17, 33));
    WeightView padded = p.view();
    const int64_t rows = padded.row_tiles() * 16,
                  cols = padded.col_tiles() * tile_cols(format.layout);
    CAPTURE(format.name);
    if (format.group != 0) {  // integers as stored, at scales that are not zero
      padded.rows = rows;
      int wrong = 0;
      for (int64_t row = 0; row < rows; ++row)
        for (int64_t col = row < 17 ? 33 : 0; col < cols; ++col)
          wrong += integer_at(padded, row, col) != 0;
      CHECK(wrong == 0);
      continue;
    }
    padded.rows = rows;
    padded.cols = cols;
    std::vector<float> row(static_cast<size_t>(cols));
    for (int64_t r = 0; r < rows; ++r) {
      expand_row(padded, r, row.data());
      for (int64_t c = r < 17 ? 33 : 0; c < cols; ++c) REQUIRE(row[static_cast<size_t>(c)] == 0);
    }
  }
}

TEST_CASE("zeros and tiny weights stay under the scale floor", "[rtn]") {
  for (const char* name : {"int8", "int8g32", "int6g16", "int6g32", "int5g32", "int4g32", "int4g64",
                           "int4g128", "int3g16", "int3g32"}) {
    const Format& format = *find_format(name);
    std::vector<float> w(2 * 64, 0.0f);
    w[64] = 0x1p-26f;    // a quarter of the floor: rounds to 0
    w[65] = 0x1.8p-25f;  // three quarters of it: rounds to 1
    const PackedWeight p = rtn(format, rows_f32(w, 2, 64));
    CAPTURE(name);
    CHECK(scale_at(p, 0, 0) == 0x0001);
    // Of either sign: the largest weight takes the lowest integer.
    const int sign = levels_of(format).lowest == -levels_of(format).highest ? 1 : -1;
    CHECK(scale_at(p, 1, 0) == (sign > 0 ? 0x0001 : 0x8001));
    CHECK(stored_at(p, 0, 0) == 0);
    CHECK(stored_at(p, 1, 0) == 0);
    CHECK(stored_at(p, 1, 1) == sign);
  }
}

TEST_CASE("a scale beyond FP16 saturates", "[rtn]") {
  const std::vector<float> w = {1e7f, -1e7f, 65504, 0};
  const PackedWeight p = rtn(*find_format("int4g32"), rows_f32(w, 1, 4));
  CHECK(scale_at(p, 0, 0) == 0x7bff);
  CHECK(stored_at(p, 0, 0) == 7);
  CHECK(stored_at(p, 0, 1) == -8);
  CHECK(stored_at(p, 0, 2) == 1);
}

TEST_CASE("any source layout gives the same", "[rtn]") {
  const int64_t rows = 19, cols = 70;
  std::vector<float> w = random_weights(rows, cols, 9);
  std::vector<uint16_t> half, brain;
  for (size_t i = 0; i < w.size(); ++i) {
    if (i % 7 == 0) w[i] *= 0x1p-14f;  // subnormal halves
    half.push_back(f32_to_f16(w[i]));
    brain.push_back(static_cast<uint16_t>(std::bit_cast<uint32_t>(w[i]) >> 16));
  }
  std::vector<float> from_half, from_brain;
  for (uint16_t h : half) from_half.push_back(f16_to_f32(h));
  for (uint16_t h : brain) from_brain.push_back(bf16_to_f32(h));
  const PackedWeight tiles = rtn(kFormats[0], rows_f32(from_half, rows, cols));
  struct Case {
    WeightView view;
    const std::vector<float>& same;
  };
  const Case cases[] = {
      {{.layout = Layout::kRowsF16, .rows = rows, .cols = cols, .data = half.data()}, from_half},
      {{.layout = Layout::kRowsBf16, .rows = rows, .cols = cols, .data = brain.data()}, from_brain},
      {tiles.view(), from_half}};
  for (const Case& c : cases)
    for (const Format& format : kFormats) {
      const PackedWeight a = rtn(format, c.view);
      const PackedWeight b = rtn(format, rows_f32(c.same, rows, cols));
      CAPTURE(format.name);
      CHECK(std::equal(a.qweight.data(), a.qweight.data() + a.qweight.size(), b.qweight.data()));
      CHECK(std::equal(a.scale.data(), a.scale.data() + a.scale.size(), b.scale.data()));
    }
}

TEST_CASE("fp16 saturates where rounding would reach infinity", "[rtn]") {
  const std::vector<float> w = {65503, 65519, 65520, 65530, 65536, -65530, 3e38f};
  const PackedWeight p = rtn(kFormats[0], rows_f32(w, 1, 7));
  std::vector<float> back(7);
  expand_row(p.view(), 0, back.data());
  for (size_t i = 0; i < 7; ++i) CHECK(back[i] == (w[i] < 0 ? -65504.0f : 65504.0f));
}

TEST_CASE("every finite half survives fp16", "[rtn]") {
  std::vector<uint16_t> halves;
  for (uint32_t h = 0; h < 0x10000; ++h)
    if ((h & 0x7c00) != 0x7c00) halves.push_back(static_cast<uint16_t>(h));
  const auto cols = static_cast<int64_t>(halves.size());
  const PackedWeight p = rtn(
      kFormats[0], {.layout = Layout::kRowsF16, .rows = 1, .cols = cols, .data = halves.data()});
  std::vector<float> back(halves.size());
  expand_row(p.view(), 0, back.data());
  for (size_t i = 0; i < halves.size(); ++i)
    REQUIRE(std::bit_cast<uint32_t>(back[i]) == std::bit_cast<uint32_t>(f16_to_f32(halves[i])));
}

}  // namespace klens
