// What formats have that have minima or planes: a file whose minima are not finite, or whose planes
// are cut short, is refused in one line, as the others of malformed_test.cpp are.
#include <catch2/catch.hpp>
#include <cstring>

#include "loaders/klens_file.h"
#include "quant/format.h"
#include "tests/loaders/damage.h"
#include "tests/testing.h"

namespace klens {
namespace {

using namespace klens::testing;

constexpr const char* kUnit = "lm_head";

// The golden mamba in one format, opened through the public API once it is damaged.
class Damaged {
 public:
  explicit Damaged(const Format& format) {
    copy_golden(folder_ / "model");
    quantise(folder_ / "model", path_, format.name);
    REQUIRE(open_model(path_, true).status == KLENS_OK);
    container_ = Container::read(path_);
  }
  Container& container() { return container_; }
  size_t bytes_of(const std::string& name) {
    const auto& at = container_.header[name]["data_offsets"];
    return at[1].get<size_t>() - at[0].get<size_t>();
  }
  // The tensor without its last bytes, and all others where they then lie.
  void cut(const std::string& name, size_t bytes) {
    const auto end = container_.header[name]["data_offsets"][1].get<size_t>();
    container_.data.erase(end - bytes, bytes);
    for (auto& [other, entry] : container_.header.items()) {
      if (!entry.contains("data_offsets")) continue;
      for (auto& offset : entry["data_offsets"])
        if (offset.get<size_t>() >= end) offset = offset.get<size_t>() - bytes;
    }
    container_.header[name]["shape"][0] = bytes_of(name);
  }
  void check_refused(const std::vector<std::string>& words) {
    write_bytes(path_, container_.bytes());
    for (const Outcome& outcome : {open_model(path_, false), inspect_file(path_, false)}) {
      CAPTURE(outcome.message);
      CHECK(outcome.status == KLENS_BAD_FILE);
      CHECK(outcome.untouched);
      CHECK(outcome.message.find('\n') == std::string::npos);
      for (const std::string& word : words) CHECK_THAT(outcome.message, Catch::Contains(word));
    }
  }

 private:
  const TemporaryFolder folder_;
  const std::string path_ = folder_ / "model.klens";
  Container container_;
};

bool has_planes(const Format& format) {
  const int bits = code_bits(format.layout);
  return tile_cols(format.layout) == 32 && bits != 2;
}

}  // namespace

TEST_CASE("minima that are not finite are refused", "[malformed]") {
  for (const Format& format : kFormats) {
    if (!format.minimum) continue;
    CAPTURE(format.name);
    const std::string name = std::string(kUnit) + ".scale";
    for (const bool last : {false, true})
      for (const uint16_t half : {0x7e00, 0xfe01, 0x7c00, 0xfc00}) {
        Damaged file(format);
        // The first minimum follows the scales.
        const size_t bytes = file.bytes_of(name), at = last ? bytes - sizeof half : bytes / 2;
        std::memcpy(file.container().tensor(name) + at, &half, sizeof half);
        file.check_refused({"tensor " + name, "NaN or infinity", "get it again"});
      }
  }
}

TEST_CASE("planes that are cut short are refused", "[malformed]") {
  for (const Format& format : kFormats) {
    if (!has_planes(format)) continue;
    CAPTURE(format.name);
    const std::string name = std::string(kUnit) + ".qweight";
    Damaged file(format);
    file.cut(name, kLineBytes);
    file.check_refused({"tensor " + name, "its format needs"});
  }
}

TEST_CASE("minima that are missing are refused", "[malformed]") {
  for (const Format& format : kFormats) {
    if (!format.minimum) continue;
    CAPTURE(format.name);
    const std::string name = std::string(kUnit) + ".scale";
    Damaged file(format);
    file.cut(name, file.bytes_of(name) / 2 / kLineBytes * kLineBytes);
    file.check_refused({"tensor " + name, "its format needs"});
  }
}

}  // namespace klens
