#include "kernels/weights.h"

#include "tests/kernels/testing.h"

namespace klens {
namespace {

using namespace klens::testing;

TEST_CASE("half: all 65536 codes survive the round trip", "[half]") {
  Mismatches bad;
  for (uint32_t code = 0; code < 65536; ++code) {
    const auto h = static_cast<uint16_t>(code);
    const float f = f16_to_f32(h);
    const bool nan = (code & 0x7c00) == 0x7c00 && (code & 0x3ff) != 0;
    const uint16_t back = f32_to_f16(f);
    const bool ok = nan ? std::isnan(f) && (back & 0x7fff) > 0x7c00 : back == h;
    bad.check(ok, "code " + std::to_string(code));
    // The value by its definition.
    const int exponent = (h >> 10) & 31, mantissa = h & 0x3ff;
    const double magnitude = exponent == 0    ? std::ldexp(mantissa, -24)
                             : exponent == 31 ? INFINITY
                                              : std::ldexp(1024 + mantissa, exponent - 25);
    if (!nan)
      bad.check(double{f} == ((h & 0x8000) != 0 ? -magnitude : magnitude),
                "value of code " + std::to_string(code));
  }
}

TEST_CASE("half: rounds to nearest, ties to even", "[half]") {
  Mismatches bad;
  for (uint32_t code = 0; code < 0x7c00; ++code) {  // between each finite code and the next
    const float low = f16_to_f32(static_cast<uint16_t>(code));
    const float high = code == 0x7bff ? 65536.0f : f16_to_f32(static_cast<uint16_t>(code + 1));
    const float middle = (low + high) / 2;
    const uint32_t even = code % 2 == 0 ? code : code + 1;
    const std::string where = "after code " + std::to_string(code);
    bad.check(f32_to_f16(middle) == even, where + ": tie");
    bad.check(f32_to_f16(-middle) == (even | 0x8000u), where + ": negative tie");
    bad.check(f32_to_f16(std::nextafter(middle, 0.0f)) == code, where + ": below the tie");
    bad.check(f32_to_f16(std::nextafter(middle, 1e9f)) == code + 1, where + ": above the tie");
  }
  CHECK(f32_to_f16(1e30f) == 0x7c00);
  CHECK(f32_to_f16(-INFINITY) == 0xfc00);
  CHECK(f32_to_f16(1e-30f) == 0);
  CHECK((f32_to_f16(NAN) & 0x7fff) > 0x7c00);
}

TEST_CASE("bf16: is the upper half of binary32", "[half]") {
  CHECK(bf16_to_f32(0x3f80) == 1.0f);
  CHECK(bf16_to_f32(0xc049) == -3.140625f);
  CHECK(std::isinf(bf16_to_f32(0x7f80)));
}

TEST_CASE("weights: where each layout keeps a number", "[weights]") {
  constexpr int64_t kRows = 18, kCols = 11;
  const uint16_t one_and_half[32] = {
      0x3e00, 0x3e00, 0x3e00, 0x3e00, 0x3e00, 0x3e00, 0x3e00, 0x3e00, 0x3e00, 0x3e00, 0x3e00,
      0x3e00, 0x3e00, 0x3e00, 0x3e00, 0x3e00, 0x4000, 0x4000, 0x4000, 0x4000, 0x4000, 0x4000,
      0x4000, 0x4000, 0x4000, 0x4000, 0x4000, 0x4000, 0x4000, 0x4000, 0x4000, 0x4000};
  for (const Layout layout : {Layout::kTilesF16, Layout::kTilesI8, Layout::kTilesI4}) {
    INFO(layout_name(layout));
    Buffer<uint8_t> data(static_cast<int64_t>(tiles_bytes(layout, kRows, kCols)));
    WeightView w{layout, kRows, kCols, 32, data.data(), one_and_half};
    if (layout == Layout::kTilesI4) data.fill(0x88);
    // Output 17 is output 1 of tile row 1; column 9.
    float want = 0;
    if (layout == Layout::kTilesF16) {  // 6 tiles per row; tile 4 holds columns 8 and 9
      CHECK(data.size() == 2 * 6 * 64);
      const uint16_t h = f32_to_f16(0.25f);
      std::memcpy(data.data() + (6 + 4) * 64 + 1 * 4 + 2, &h, 2);
      want = 0.25f;
    } else if (layout == Layout::kTilesI8) {  // 3 tiles per row; tile 2 holds columns 8 to 11
      CHECK(data.size() == 2 * 3 * 64);
      data[(3 + 2) * 64 + 1 * 4 + 1] = static_cast<uint8_t>(-5);
      want = -10;
    } else {  // 2 tiles per row; tile 1 holds columns 8 to 15, 8 to 11 in low nibbles
      CHECK(data.size() == 2 * 2 * 64);
      data[(2 + 1) * 64 + 1 * 4 + 1] = 0x8d;
      want = 10;
    }
    for (int64_t n = 0; n < kRows; ++n) {
      float row[kCols];
      expand_row(w, n, row);
      for (int64_t k = 0; k < kCols; ++k) CHECK(row[k] == (n == 17 && k == 9 ? want : 0.0f));
    }
  }
}

TEST_CASE("weights: a column range is that part of the row", "[weights]") {
  Rng rng(1);
  for (const Kind kind : kKinds) {
    const RandomWeight w(kind, 19, 77, 16, rng);
    float row[77], part[40];
    for (const int64_t n : {0, 15, 16, 18}) {
      expand_row(w.view, n, row);
      expand_columns(w.view, n, 30, 70, part);
      CHECK(std::memcmp(row + 30, part, sizeof part) == 0);
    }
  }
}

// 32 columns of output 1: the code of column 4b + j is made of bits that tell b and j apart.
TEST_CASE("weights: bytes of 2, 3, 5 and 6 bits", "[weights]") {
  const uint16_t one[16] = {0x3c00, 0x3c00, 0x3c00, 0x3c00, 0x3c00, 0x3c00, 0x3c00, 0x3c00,
                            0x3c00, 0x3c00, 0x3c00, 0x3c00, 0x3c00, 0x3c00, 0x3c00, 0x3c00};
  const uint16_t half[16] = {0x3800, 0x3800, 0x3800, 0x3800, 0x3800, 0x3800, 0x3800, 0x3800,
                             0x3800, 0x3800, 0x3800, 0x3800, 0x3800, 0x3800, 0x3800, 0x3800};
  // Nibbles of the eight vectors, j = 0 .. 3: a line has those of two vectors.
  const uint8_t nibbles[4][4] = {{0x10, 0x32, 0x54, 0x76},
                                 {0x98, 0xba, 0xdc, 0xfe},
                                 {0x0f, 0x1e, 0x2d, 0x3c},
                                 {0x4b, 0x5a, 0x69, 0x78}};
  const int low[32] = {0,  2,  4,  6,  1, 3, 5, 7, 8,  10, 12, 14, 9, 11, 13, 15,
                       15, 14, 13, 12, 0, 1, 2, 3, 11, 10, 9,  8,  4, 5,  6,  7};
  const uint8_t planes[2][4] = {{0x01, 0x80, 0xb4, 0xff}, {0x1b, 0x00, 0xe4, 0x80}};
  // Bit b of planes[0][j] at 4b + j, and the pairs of bits of both planes.
  const int fifth[32] = {1, 0, 0, 1, 0, 0, 0, 1, 0, 0, 1, 1, 0, 0, 0, 1,
                         0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 0, 1, 0, 1, 1, 1};
  const int pairs[32] = {1, 0, 0, 3, 0, 0, 1, 3, 0, 0, 3, 3, 0, 2, 2, 3,
                         3, 0, 0, 0, 2, 0, 1, 0, 1, 0, 2, 0, 0, 0, 3, 2};
  struct Case {
    Layout layout;
    int bits;
    std::vector<const uint8_t*> lines;  // of output 1
    const int *first, *second;          // codes: first + second << shift
    int shift;
  };
  const int none[32] = {};
  const Case cases[] = {{Layout::kTilesI2, 2, {planes[0], planes[1]}, pairs, none, 2},
                        {Layout::kTilesI3, 3, {planes[0], planes[1], planes[0]}, pairs, fifth, 2},
                        {Layout::kTilesI5,
                         5,
                         {nibbles[0], nibbles[1], nibbles[2], nibbles[3], planes[0]},
                         low,
                         fifth,
                         4},
                        {Layout::kTilesI6,
                         6,
                         {nibbles[0], nibbles[1], nibbles[2], nibbles[3], planes[0], planes[1]},
                         low,
                         pairs,
                         4}};
  for (const auto& [layout, bits, lines, first, second, shift] : cases) {
    INFO(layout_name(layout));
    CHECK(code_bits(layout) == bits);
    CHECK(tile_bytes(layout) == 64 * bits);
    CHECK(tile_cols(layout) == 32);
    CHECK(tiles_bytes(layout, 17, 33) == static_cast<size_t>(2 * 2 * tile_bytes(layout)));
    Buffer<uint8_t> data(static_cast<int64_t>(tiles_bytes(layout, 16, 64)));
    uint8_t* tile = data.data() + tile_bytes(layout) + 4;  // columns 32 to 63, output 1
    for (size_t i = 0; i < lines.size(); ++i) std::memcpy(tile + 64 * i, lines[i], 4);
    WeightView w{layout, 16, 64, 64, data.data(), one};
    Mismatches bad;
    for (const bool minima : {false, true}) {
      w.min = minima ? half : nullptr;
      float row[64];
      expand_row(w, 1, row);
      for (int k = 0; k < 32; ++k) {
        const int code = first[k] + (second[k] << shift);
        const int integer = minima ? code : code - (1 << (bits - 1));
        bad.check(integer_at(w, 1, 32 + k) == integer, "integer at " + std::to_string(k));
        bad.near(row[32 + k], integer + (minima ? 0.5 : 0.0), 0, "column " + std::to_string(k));
      }
    }
  }
}

TEST_CASE("weights: integers are what was put", "[weights]") {
  Rng rng(2);
  for (const Kind kind : kIntegerKinds)
    for (const int64_t group : {16, 32}) {
      const RandomWeight w(kind, 37, 75, group, rng);
      INFO(kind_name(w.view) << " groups of " << group);
      Mismatches bad;
      const WeightView part = from_tile(w.view, 1);
      for (int64_t n = 0; n < 37; ++n) {
        float row[75], same[75];
        expand_row(w.view, n, row);
        if (n >= 16) {
          expand_row(part, n - 16, same);
          bad.check(std::memcmp(row, same, sizeof row) == 0, "from_tile, row " + std::to_string(n));
        }
        for (int64_t k = 0; k < 75; ++k) {
          const int32_t integer = w.integers[n * 75 + k];
          bad.check(integer_at(w.view, n, k) == integer, at(n, k));
          const int64_t i = (n / 16 * ((74 + group) / group) + k / group) * 16 + n % 16;
          const double min = kind.minima ? double{f16_to_f32(w.min[i])} : 0;
          const double want = integer * double{f16_to_f32(w.scale[i])} + min;
          bad.near(row[k], static_cast<float>(want), 0, at(n, k));
        }
      }
    }
}

TEST_CASE("weights: row layouts", "[weights]") {
  const float f32[] = {1, 2, 3, 4, 5, 6};
  const uint16_t f16[] = {0x3c00, 0x4000, 0x4200, 0x4400, 0x4500, 0x4600};
  const uint16_t bf16[] = {0x3f80, 0x4000, 0x4040, 0x4080, 0x40a0, 0x40c0};
  const void* data[] = {f32, f16, bf16};
  const Layout layouts[] = {Layout::kRowsF32, Layout::kRowsF16, Layout::kRowsBf16};
  for (int i = 0; i < 3; ++i) {
    float row[3];
    expand_row({layouts[i], 2, 3, 0, data[i], nullptr}, 1, row);
    CHECK(row[0] == 4);
    CHECK(row[1] == 5);
    CHECK(row[2] == 6);
  }
}

}  // namespace
}  // namespace klens
