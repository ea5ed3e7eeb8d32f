#include "quant/format.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <string>

namespace klens {

TEST_CASE("formats are found by name", "[format]") {
  for (const Format& format : kFormats) CHECK(find_format(format.name) == &format);
  CHECK(find_format("int4") == nullptr);
  CHECK(find_format("") == nullptr);
  CHECK(find_format("INT8") == nullptr);
}

TEST_CASE("formats stand by what they cost, and differ in what tells them apart", "[format]") {
  for (const Format& a : kFormats) {
    for (const Format& b : kFormats) {
      if (&a <= &b) continue;
      CAPTURE(a.name, b.name);
      CHECK(bits_per_weight(a) <= bits_per_weight(b));
      CHECK(a.colour != b.colour);
      CHECK(std::string(a.about) != b.about);
    }
  }
  CHECK(bits_per_weight(kBaseFormat) == 16);
  CHECK(default_formats() ==
        "int8g32,int8,int6g32,int5ag32,int5g32,int4ag32,int4g32,int4g64,int4g128");
}

TEST_CASE("bytes of a packed matrix", "[format]") {
  struct Case {
    const char* format;
    int64_t rows, cols;
    size_t weights, scales;
  };
  const Case cases[] = {
      {"fp16", 1, 1, 64, 0},
      {"fp16", 16, 2, 64, 0},
      {"fp16", 17, 3, 256, 0},
      {"fp16", 768, 1536, 768 * 1536 * 2, 0},
      {"int8", 1, 1, 64, 64},
      {"int8", 16, 5, 128, 64},
      {"int8", 48, 512, 48 * 512, 128},  // 3 x 16 scales: 96 bytes, padded
      {"int8", 1024, 256, 1024 * 256, 2048},
      {"int4g32", 1, 9, 128, 64},
      {"int4g32", 16, 33, 320, 64},
      {"int4g32", 64, 128, 4096, 512},
      {"int4g64", 64, 128, 4096, 256},
      {"int4g128", 64, 128, 4096, 128},
      {"int4g128", 64, 129, 64 / 16 * 17 * 64, 256},
      {"int4g64", 17, 100, 2 * 13 * 64, 128},
      {"int8g32", 64, 128, 8192, 512},
      {"int4ag32", 64, 128, 4096, 1024},
      {"int5g32", 64, 128, 64 * 128 * 5 / 8, 512},
      {"int5ag32", 17, 33, 2 * 2 * 320, 256},
      {"int6g32", 64, 128, 64 * 128 * 6 / 8, 512},
      {"int6g32", 16, 1, 384, 64},
      {"int6g16", 64, 128, 64 * 128 * 6 / 8, 1024},
      {"int6g16", 17, 33, 2 * 2 * 384, 2 * 3 * 32},
      {"int3g16", 64, 128, 64 * 128 * 3 / 8, 1024},
      {"int3g32", 64, 128, 64 * 128 * 3 / 8, 512},
      {"int3g32", 17, 33, 2 * 2 * 192, 2 * 2 * 32},
      {"int2ag16", 64, 128, 64 * 128 * 2 / 8, 2048},
      {"int2g32", 16, 1, 128, 64},
  };
  for (const Case& c : cases) {
    CAPTURE(c.format, c.rows, c.cols);
    const Format& format = *find_format(c.format);
    CHECK(weight_bytes(format, c.rows, c.cols) == c.weights);
    CHECK(scale_bytes(format, c.rows, c.cols) == c.scales);
    CHECK(packed_bytes(format, c.rows, c.cols) == c.weights + c.scales);
  }
}

TEST_CASE("every part is whole cache lines", "[format]") {
  for (const Format& format : kFormats)
    for (int64_t rows = 1; rows <= 40; ++rows)
      for (int64_t cols = 1; cols <= 140; ++cols) {
        REQUIRE(weight_bytes(format, rows, cols) % 64 == 0);
        REQUIRE(scale_bytes(format, rows, cols) % 64 == 0);
      }
}

TEST_CASE("a view's group is never wider than the matrix", "[format]") {
  for (const Format& format : kFormats)
    for (int64_t cols : {1, 31, 32, 100, 128, 500}) {
      const WeightView view = packed_view(format, 3, cols, nullptr, nullptr);
      CAPTURE(format.name, cols);
      CHECK(view.group == (format.group == 0 ? 0 : std::min(format.group, cols)));
      CHECK(view.groups() == (format.group == 0 ? 0 : (cols + view.group - 1) / view.group));
    }
}

}  // namespace klens
