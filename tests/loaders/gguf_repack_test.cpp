// Quantised matrices of GGUF files as tiles of our formats, against their values one by one.
#include <catch2/catch.hpp>
#include <cmath>
#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "kernels/half.h"
#include "loaders/gguf/block_types.h"
#include "loaders/gguf/convert_tensors.h"
#include "loaders/gguf/dequantize.h"
#include "loaders/gguf/read_gguf.h"
#include "loaders/gguf/recipe_rows.h"
#include "loaders/gguf/repack.h"
#include "tests/loaders/damage.h"
#include "tests/loaders/gguf_builder.h"
#include "tests/testing.h"

namespace klens {
namespace {

using namespace klens::testing;

constexpr uint16_t kOne = 0x3c00;  // as FP16

std::vector<float> row_of(const WeightView& view, int64_t row) {
  std::vector<float> values(static_cast<size_t>(view.cols));
  expand_row(view, row, values.data());
  return values;
}

std::vector<float> values_of(const GgufTensor& tensor, int64_t row) {
  std::vector<float> values(static_cast<size_t>(tensor.cols()));
  const size_t bytes = tensor.bytes.size() / static_cast<size_t>(tensor.rows());
  dequantize_row(tensor.type, tensor.bytes.data() + static_cast<size_t>(row) * bytes, tensor.cols(),
                 values.data());
  return values;
}

// A tensor of the checkpoint that is one of the file's as it lies there.
TensorRecipe whole(const GgufTensor& tensor, const std::string& name = "t") {
  return {name, tensor.shape, {{&tensor, 0, tensor.rows(), tensor.cols()}}, name};
}

GgufTensor tensor_of(GgmlType type, std::vector<int64_t> shape, const std::string& blocks) {
  return {type, std::move(shape), std::as_bytes(std::span(blocks))};
}

// What becomes of a tensor that is one unit.
TensorSource convert(const TensorRecipe& recipe, std::vector<LinearSpec> units = {}) {
  ModelSpec spec;
  if (units.empty())
    units.push_back({.name = "unit",
                     .tensor = recipe.name,
                     .kind = "",
                     .rows = recipe.shape[0],
                     .cols = recipe.shape[1],
                     .tensor_shape = recipe.shape});
  spec.units = std::move(units);
  TensorSource source;
  convert_tensors("file", std::span(&recipe, 1), spec, source);
  return source;
}

// A row of Q4_1: d * q + m with every q = 1, and so a value that tells the rows apart.
std::string q4_1_row(float d, float m, int64_t blocks = 1) {
  std::string row;
  for (int64_t i = 0; i < blocks; ++i)
    row += raw(f32_to_f16(d)) + raw(f32_to_f16(m)) + std::string(16, '\x11');
  return row;
}

// Rounding a scale and a minimum to FP16 moves a value of the group by so much at most.
float bound(const GgufBlockType& type, const GgufBlock& block, int64_t g) {
  if (!type.rounds) return 0;
  const auto moved = [](float x) { return std::max(std::fabs(x) * 0x1p-11f, 0x1p-25f); };
  float bound = 64 * moved(block.scale[g]);
  if (type.layout == Layout::kTilesI8) bound *= 2;
  return bound + (type.minimum ? moved(block.min[g]) : 0);
}

}  // namespace

TEST_CASE("every quantised type that a format holds keeps its values in its tiles", "[gguf]") {
  const GgufFile file = GgufFile::open(data_path("gguf/types.gguf"));
  int exact = 0, rounded = 0;
  for (const auto& [name, tensor] : file.tensors()) {
    const GgufTensor* expected = file.find_tensor(name + ".values");
    if (!expected) continue;
    CAPTURE(name);
    const TensorRecipe recipe = whole(tensor);
    const Format* format = stored_format(recipe);
    const GgufBlockType& type = *find_block_type(tensor.type);
    if (format == nullptr) {
      CHECK(type.group == 16);
      continue;
    }
    const TensorSource source = convert(recipe);
    REQUIRE(source.packed.contains("unit"));
    CHECK(source.packed.at("unit").format == format);
    CHECK(source.tensors.at("t").view.bytes.empty());
    const WeightView& view = source.packed.at("unit").view;
    CHECK(view.layout == type.layout);
    CHECK((view.min != nullptr) == type.minimum);
    ++(type.rounds ? rounded : exact);
    const int64_t block_values = ggml_type_info(tensor.type).block;
    const size_t row_size = tensor.bytes.size() / 5;
    for (int64_t row = 0; row < 5; ++row) {
      const std::vector<float> got = row_of(view, row), wanted = values_of(*expected, row);
      GgufBlock block;
      for (int64_t i = 0; i < view.cols; ++i) {
        if (i % block_values == 0)
          type.decode(reinterpret_cast<const uint8_t*>(tensor.bytes.data()) +
                          static_cast<size_t>(row) * row_size +
                          static_cast<size_t>(i / block_values) * ggml_type_info(tensor.type).bytes,
                      block);
        const auto at = static_cast<size_t>(i);
        const float off = std::fabs(got[at] - wanted[at]);
        if (off > bound(type, block, i % block_values / type.group)) {
          CAPTURE(row, i, got[at], wanted[at]);
          FAIL_CHECK("a value is not the file's");
          break;
        }
      }
    }
    // Rows that fill up the tile are the integer 0.
    WeightView tile = view;
    tile.rows = 16;
    for (int64_t row = 5; row < 16; ++row)
      for (int64_t col = 0; col < tile.cols; col += 7) CHECK(integer_at(tile, row, col) == 0);
  }
  CHECK(exact == 7);
  CHECK(rounded >= 3);
}

TEST_CASE("quantised models keep in tiles what they hold", "[gguf][shared]") {
  for (const char* name : {"wiki-llama.Q8_0", "wiki-llama.Q4_0", "wiki-llama.Q4_K_M",
                           "wiki-llama.Q5_K_M", "wiki-llama.Q6_K", "wiki-mamba.Q4_K_M"}) {
    const std::string path = shared_path("goldens/gguf/" + std::string(name) + ".gguf");
    if (path.empty()) continue;
    const Checkpoint checkpoint = open_checkpoint(path, false);
    const GgufFile file = GgufFile::open(path);
    GgufMapping map = map_gguf(file);
    TensorSource source;  // as if nothing were a unit: FP16, the other way through the loader
    convert_tensors(path, map.recipes(), ModelSpec{}, source);
    size_t packed = 0;
    for (const LinearSpec& spec : checkpoint.spec.units) {
      const StoredUnit& unit = checkpoint.units.at(spec.name);
      // A unit's rows are a part of its tensor's.
      const TensorSource::Entry& whole = source.tensors.at(spec.tensor);
      const size_t rows = whole.view.bytes.size() / 2 / static_cast<size_t>(spec.cols);
      CHECK(unit.stored_bytes == whole.stored_bytes / rows * static_cast<size_t>(spec.rows));
      if (unit.format == nullptr) continue;
      ++packed;
      CAPTURE(name, spec.name, unit.stored_type);
      CHECK((unit.quantised && !unit.choice));
      CHECK(unit.bytes == packed_bytes(*unit.format, spec.rows, spec.cols));
      const std::vector<float> converted = to_f32(whole.view);
      const float most = std::fabs(*std::ranges::max_element(
          converted, [](float a, float b) { return std::fabs(a) < std::fabs(b); }));
      const bool exact = unit.stored_type == "q8_0" || unit.stored_type == "q4_0";
      float worst = 0;
      for (int64_t row = 0; row < spec.rows; ++row) {
        const std::vector<float> got = row_of(unit.view, row);
        const float* wanted = converted.data() + (spec.first_row + row) * spec.cols;
        for (size_t i = 0; i < got.size(); ++i)
          worst = std::max(worst, std::fabs(exact ? f16_to_f32(f32_to_f16(got[i])) - wanted[i]
                                                  : (got[i] - wanted[i]) / most));
      }
      CHECK(worst <= (exact ? 0 : 0x1p-9f));
    }
    CHECK(packed > 0);
  }
}

TEST_CASE("paired rows go back where they are repacked", "[gguf]") {
  GgufBuilder file = small_gguf_llama();
  file.u32("llama.embedding_length", 32);
  for (GgufBuilder::Tensor& tensor : file.tensors) {
    if (tensor.dims[0] == 8) tensor.dims[0] = 32;
    if (tensor.dims.size() == 2 && tensor.dims[1] == 8) tensor.dims[1] = 32;
    const uint64_t rows = tensor.dims.size() == 1 ? 1 : tensor.dims[1];
    tensor.data.assign(tensor.dims[0] * rows * 4, '\0');
  }
  // Two heads of 16 channels, one for keys.
  for (const auto& [name, rows] :
       {std::pair("blk.0.attn_q.weight", 32), {"blk.0.attn_k.weight", 16}}) {
    GgufBuilder::Tensor& tensor = file.tensor(name);
    tensor.type = 3;
    tensor.dims = {32, static_cast<uint64_t>(rows)};
    tensor.data.clear();
    for (int row = 0; row < rows; ++row) tensor.data += q4_1_row(1, static_cast<float>(row));
  }
  GgufBuilder::Tensor& values = file.tensor("blk.0.attn_v.weight");
  values.dims = {32, 16};
  values.data.assign(32 * 16 * 4, '\0');
  const std::string bytes = file.bytes();
  const GgufModel model = read_gguf(parse_gguf(bytes));
  for (const auto& [name, rows] : {std::pair("q_proj", 32), {"k_proj", 16}}) {
    const WeightView& view =
        model.tensors.packed.at("model.layers.0.self_attn." + std::string(name)).view;
    REQUIRE(view.rows == rows);
    for (int64_t row = 0; row < rows; ++row) {
      // Channel c of a head stood at 2 c, or, in its second half, at 2 (c - 8) + 1.
      const int64_t head = row / 16, c = row % 16;
      const int64_t stood = head * 16 + (c < 8 ? 2 * c : 2 * (c - 8) + 1);
      CHECK(row_of(view, row) == std::vector<float>(32, 1 + static_cast<float>(stood)));
    }
  }
}

TEST_CASE("units that are rows of a tensor are repacked each on its own", "[gguf]") {
  // Two experts of 24 rows: 8 of `gate` above 16 of `up`; neither begins at a tile.
  std::string gates, ups;
  for (int row = 0; row < 16; ++row) gates += q4_1_row(0.5f, static_cast<float>(row));
  for (int row = 0; row < 32; ++row) ups += q4_1_row(2, static_cast<float>(100 + row));
  const GgufTensor gate = tensor_of(GgmlType::kQ4_1, {2, 8, 32}, gates),
                   up = tensor_of(GgmlType::kQ4_1, {2, 16, 32}, ups);
  TensorRecipe recipe{"experts", {2, 24, 32}, {}, "gate"};
  recipe.parts = {{&gate, 0, 8, 32}, {&up, 0, 16, 32}, {&gate, 8, 8, 32}, {&up, 16, 16, 32}};
  std::vector<LinearSpec> units;
  for (int64_t first : {0, 24})
    units.push_back({.name = "expert" + std::to_string(first),
                     .tensor = "experts",
                     .kind = "",
                     .rows = 24,
                     .cols = 32,
                     .first_row = first,
                     .tensor_shape = {2, 24, 32}});
  const TensorSource source = convert(recipe, units);
  for (int64_t expert = 0; expert < 2; ++expert) {
    const WeightView& view = source.packed.at(units[static_cast<size_t>(expert)].name).view;
    for (int64_t row = 0; row < 24; ++row) {
      const int64_t value = row < 8 ? expert * 8 + row : 100 + expert * 16 + row - 8;
      CHECK(row_of(view, row) ==
            std::vector<float>(32, static_cast<float>(value) + (row < 8 ? 0.5f : 2)));
    }
  }
}

TEST_CASE("parts of several types are repacked where one format holds both", "[gguf]") {
  const std::string plain = q4_1_row(1, 3, 8);
  std::string k_block = raw(kOne) + raw(kOne) + std::string(12, '\x01') + std::string(128, '\x22');
  const GgufTensor above = tensor_of(GgmlType::kQ4_1, {1, 256}, plain),
                   below = tensor_of(GgmlType::kQ4K, {1, 256}, k_block);
  TensorRecipe recipe{"both", {2, 256}, {{&above, 0, 1, 256}, {&below, 0, 1, 256}}, "above"};
  const TensorSource source = convert(recipe);
  const WeightView& view = source.packed.at("unit").view;
  CHECK(row_of(view, 0) == std::vector<float>(256, 4));
  CHECK(row_of(view, 1) == values_of(below, 0));
  CHECK(source.tensors.at("both").stored_type == "q4_1+q4_k");

  const std::string eight = raw(kOne) + std::string(32, '\x05');
  std::string of_eight;
  for (int i = 0; i < 8; ++i) of_eight += eight;
  const GgufTensor other = tensor_of(GgmlType::kQ8_0, {1, 256}, of_eight);
  recipe.parts[1].tensor = &other;
  const TensorSource mixed = convert(recipe);
  CHECK(mixed.packed.empty());
  CHECK(mixed.tensors.at("both").view.dtype == DType::kF16);
}

TEST_CASE("what a format cannot hold is converted as it is", "[gguf]") {
  const auto of = [](GgmlType type, int64_t cols, const std::string& blocks, DType expected) {
    const GgufTensor tensor = tensor_of(type, {1, cols}, blocks);
    const TensorSource source = convert(whole(tensor));
    CHECK(source.packed.empty());
    const TensorView& view = source.tensors.at("t").view;
    CHECK(view.dtype == expected);
    const std::vector<float> got = to_f32(view), wanted = values_of(tensor, 0);
    CHECK(std::memcmp(got.data(), wanted.data(), wanted.size() * sizeof(float)) == 0);
  };
  SECTION("the integer -128") {
    for (const size_t place : {0u, 13u, 31u}) {
      std::string block = raw(kOne) + std::string(32, '\x07');
      block[2 + place] = static_cast<char>(-128);
      of(GgmlType::kQ8_0, 32, block, DType::kF16);
    }
  }
  SECTION("a product beyond FP16") {  // 65504 * 2
    of(GgmlType::kQ4K, 256,
       raw<uint16_t>(0x7bff) + raw<uint16_t>(0) + std::string(12, '\x02') +
           std::string(128, '\x11'),
       DType::kF32);
  }
  SECTION("a minimum beyond FP16") {
    of(GgmlType::kQ4K, 256,
       raw<uint16_t>(0) + raw<uint16_t>(0x7bff) + std::string(12, '\x02') +
           std::string(128, '\x11'),
       DType::kF32);
  }
  SECTION("a power of two beyond FP16") {  // 2^(90 - 128)
    of(GgmlType::kMxfp4, 32, raw<uint8_t>(150) + std::string(16, '\x11'), DType::kF32);
    const std::string block = "Z" + std::string(16, '\x11');
    const GgufTensor small = tensor_of(GgmlType::kMxfp4, {1, 32}, block);
    CHECK(convert(whole(small)).packed.empty());
  }
  SECTION("but zeros need no scale") {
    const std::string blocks =
        raw<uint8_t>(0) + std::string(16, '\0') + raw<uint8_t>(128) + std::string(16, '\x77');
    const GgufTensor tensor = tensor_of(GgmlType::kMxfp4, {1, 64}, blocks);
    const TensorSource source = convert(whole(tensor));
    REQUIRE(source.packed.contains("unit"));
    std::vector<float> wanted(64, 0);
    std::fill_n(wanted.begin() + 32, 32, 12.0f);
    CHECK(row_of(source.packed.at("unit").view, 0) == wanted);
  }
}

TEST_CASE("a scale that is no number is refused by name", "[gguf]") {
  for (const uint16_t bad : {uint16_t{0x7c00}, uint16_t{0xfc00}, uint16_t{0x7e01}})
    for (const size_t place : {0u, 2u}) {
      GgufBuilder file = small_quantised_gguf_llama();
      file.tensor("blk.0.ffn_down.weight").data.replace(3 * 20 + place, 2, raw(bad));
      const std::string bytes = file.bytes();
      try {
        read_gguf(parse_gguf(bytes));
        FAIL("was read");
      } catch (const Error& error) {
        const std::string text = error.what();
        CHECK_THAT(text, Catch::Contains("test.gguf") && Catch::Contains("blk.0.ffn_down.weight") &&
                             Catch::Contains("NaN or infinity") && Catch::Contains("get it again"));
        CHECK(text.find('\n') == std::string::npos);
      }
    }
}

TEST_CASE("the pages of what was repacked are let go of", "[gguf][shared]") {
  std::string path = shared_path("goldens/gguf/wiki-llama.Q8_0.gguf");
  if (path.empty()) return;
  path = std::filesystem::canonical(path);
  const Checkpoint checkpoint = open_checkpoint(path, false);
  std::ifstream maps("/proc/self/smaps");
  std::string line;
  bool found = false, inside = false;
  for (; std::getline(maps, line);) {
    if (line.find(path) != std::string::npos) inside = found = true;
    if (!inside || !line.starts_with("Rss:")) continue;
    inside = false;
    // Some pages on both sides of what was read are mapped with it.
    CHECK(std::stoull(line.substr(4)) * 1024 < checkpoint.file_bytes / 4);
  }
  CHECK(found);
}

}  // namespace klens
