#include "loaders/safetensors.h"

#include <algorithm>
#include <bit>
#include <catch2/catch.hpp>
#include <filesystem>
#include <numeric>

#include "kernels/half.h"
#include "loaders/checkpoint.h"
#include "loaders/tensor_values.h"
#include "tests/loaders/damage.h"
#include "tests/testing.h"

namespace klens {
namespace {

using namespace klens::testing;
namespace fs = std::filesystem;

// Whether the view lies in one of the checkpoint's mapped files.
bool is_mapped(const Checkpoint& checkpoint, const WeightView& view) {
  const auto* data = static_cast<const std::byte*>(view.data);
  return std::any_of(checkpoint.files.begin(), checkpoint.files.end(), [&](const auto& file) {
    const std::span<const std::byte> bytes = file->bytes();
    return data >= bytes.data() && data < bytes.data() + bytes.size();
  });
}

// The numbers of two checkpoints of one model, wherever they lie.
void check_equal(const Checkpoint& a, const Checkpoint& b) {
  CHECK(small_values(a) == small_values(b));
  REQUIRE(a.units.size() == b.units.size());
  for (const auto& [name, unit] : a.units) {
    CAPTURE(name);
    const WeightView& other = b.units.at(name).view;
    REQUIRE((unit.view.rows == other.rows && unit.view.cols == other.cols));
    std::vector<float> x(static_cast<size_t>(other.cols)), y(x.size());
    bool equal = true;
    for (int64_t row = 0; row < other.rows; ++row) {
      expand_row(unit.view, row, x.data());
      expand_row(other, row, y.data());
      equal = equal && x == y;
    }
    CHECK(equal);
  }
}

}  // namespace

TEST_CASE("what the writer writes the reader reads", "[safetensors]") {
  const TensorEntry entries[] = {{"b", DType::kF32, {2, 3}, 24},
                                 {"a", DType::kU8, {5}, 5},
                                 {"empty", DType::kF16, {0, 7}, 0},
                                 {"scalar", DType::kI64, {}, 8},
                                 {"flag", DType::kBool, {1}, 1}};
  std::string data(38, '\0');
  std::iota(data.begin(), data.end(), '\1');
  const std::map<std::string, std::string> metadata = {{"format", "pt"},
                                                       {"note", "caf\xc3\xa9 \"x\"\n"}};
  const std::string bytes = safetensors_header(entries, metadata) + data;
  const auto file = SafetensorsFile::parse(std::as_bytes(std::span(bytes)), "test");
  CHECK(file.metadata() == metadata);
  CHECK(file.header_bytes() % 64 == 0);
  CHECK(file.file_bytes() == bytes.size());
  CHECK(file.tensors().size() == 5);
  size_t offset = 0;
  for (const TensorEntry& entry : entries) {
    CAPTURE(entry.name);
    const TensorView& view = file.tensors().at(entry.name);
    CHECK(view.dtype == entry.dtype);
    CHECK(view.shape == entry.shape);
    const std::string held(reinterpret_cast<const char*>(view.bytes.data()), view.bytes.size());
    CHECK(held == data.substr(offset, entry.bytes));
    offset += entry.bytes;
  }
  CHECK(file.tensors().at("empty").elements() == 0);
  CHECK(file.tensors().at("scalar").elements() == 1);
  // Text that is no UTF-8 may not make the file unreadable.
  const std::string odd = safetensors_header({}, {{"name", "\xff"}});
  CHECK(SafetensorsFile::parse(std::as_bytes(std::span(odd)), "test").metadata().at("name") ==
        "\xef\xbf\xbd");
}

TEST_CASE("values of every float type, at any alignment", "[safetensors]") {
  const float values[] = {0.0f, -0.0f, 1.5f, -2.25f, 0x1p-14f, 448.0f};
  for (const size_t offset : {0, 1, 2, 3})
    for (const DType dtype : {DType::kF32, DType::kF16, DType::kBf16}) {
      CAPTURE(offset, dtype_name(dtype));
      std::string bytes(offset, 'x');
      for (const float v : values) {
        const auto bits = std::bit_cast<uint32_t>(v);
        const uint16_t half =
            dtype == DType::kF16 ? f32_to_f16(v) : static_cast<uint16_t>(bits >> 16);
        if (dtype == DType::kF32)
          bytes.append(reinterpret_cast<const char*>(&bits), 4);
        else
          bytes.append(reinterpret_cast<const char*>(&half), 2);
      }
      const TensorView view{dtype, {2, 3}, std::as_bytes(std::span(bytes)).subspan(offset)};
      const std::vector<float> got = to_f32(view);
      CHECK(std::equal(got.begin(), got.end(), values, [](float a, float b) {
        return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b);
      }));
    }
}

TEST_CASE("a checkpoint's units stay where they are mapped", "[safetensors]") {
  const TemporaryFolder folder;
  const auto [dtype, layout] = GENERATE(table<DType, Layout>({{DType::kF32, Layout::kRowsF32},
                                                              {DType::kF16, Layout::kRowsF16},
                                                              {DType::kBf16, Layout::kRowsBf16}}));
  write_tiny_checkpoint(folder / "model",
                        {.d_model = 12, .blocks = 2, .tied = false, .dtype = dtype});
  const Checkpoint checkpoint = open_checkpoint(folder / "model", false);
  CHECK(checkpoint.units.size() == 10);
  for (const auto& [name, unit] : checkpoint.units) {
    CHECK(unit.view.layout == layout);
    CHECK(is_mapped(checkpoint, unit.view));
  }
  CHECK(checkpoint.copies.empty());
  CHECK(run_model(folder / "model").status == KLENS_OK);
}

TEST_CASE("data that is not aligned gives the same model", "[safetensors]") {
  const TemporaryFolder folder;
  copy_golden(folder / "model");
  const Checkpoint aligned = open_checkpoint(data_path("goldens/mamba"), false);
  const std::string path = folder / "model/model.safetensors";
  const Container container = Container::read(path);
  const size_t shift = GENERATE(1, 2, 3);
  std::string text = container.header.dump();
  text.append((4 - text.size() % 4) % 4 + shift, ' ');
  const uint64_t size = text.size();
  write_bytes(path, std::string(reinterpret_cast<const char*>(&size), 8) + text + container.data);
  const Checkpoint moved = open_checkpoint(folder / "model", false);
  check_equal(aligned, moved);
  CHECK(!moved.copies.empty());
  for (const auto& [name, unit] : moved.units)
    CHECK(reinterpret_cast<uintptr_t>(unit.view.data) % alignof(float) == 0);
  CHECK(run_model(folder / "model").status == KLENS_OK);
}

TEST_CASE("shards of an index are one model", "[safetensors]") {
  const TemporaryFolder folder;
  copy_golden(folder / "model");
  const Container whole = Container::read(folder / "model/model.safetensors");
  fs::remove(folder / "model/model.safetensors");
  // Every third tensor to the same shard.
  Container shards[3];
  nlohmann::json index = {{"metadata", {{"total_size", whole.data.size()}}}};
  size_t count = 0;
  for (const auto& [name, entry] : whole.header.items()) {
    if (name == "__metadata__") continue;
    Container& shard = shards[count % 3];
    index["weight_map"][name] = "model-" + std::to_string(count++ % 3) + ".safetensors";
    const size_t begin = entry["data_offsets"][0], end = entry["data_offsets"][1];
    shard.header[name] = entry;
    shard.header[name]["data_offsets"] = {shard.data.size(), shard.data.size() + end - begin};
    shard.data += whole.data.substr(begin, end - begin);
  }
  for (int i = 0; i < 3; ++i)
    write_bytes(folder / ("model/model-" + std::to_string(i) + ".safetensors"), shards[i].bytes());
  write_bytes(folder / "model/model.safetensors.index.json", index.dump());
  const Checkpoint one = open_checkpoint(data_path("goldens/mamba"), false);
  const Checkpoint three = open_checkpoint(folder / "model", false);
  CHECK(three.files.size() == 3);
  check_equal(one, three);
  CHECK(checkpoint_xxh3(one) == checkpoint_xxh3(three));
  CHECK(run_model(folder / "model").status == KLENS_OK);
}

}  // namespace klens
