#include <catch2/catch.hpp>
#include <filesystem>

#include "base/error.h"
#include "loaders/checkpoint.h"
#include "loaders/pytorch/pytorch_file.h"
#include "tests/loaders/damage.h"
#include "tests/loaders/pickles.h"
#include "tests/testing.h"

namespace klens {
namespace {

using namespace klens::testing;
namespace fs = std::filesystem;

// What PyTorch wrote beside it as safetensors; tensors() of PytorchFile, or of a TensorSource.
void check_same(const std::map<std::string, TensorView>& got, const std::string& expected) {
  const SafetensorsFile file = SafetensorsFile::open(data_path("pytorch/" + expected));
  CHECK(got.size() == file.tensors().size());
  for (const auto& [name, want] : file.tensors()) {
    CAPTURE(name);
    REQUIRE(got.count(name) == 1);
    const TensorView& view = got.at(name);
    CHECK(view.dtype == want.dtype);
    CHECK(view.shape == want.shape);
    CHECK(std::equal(view.bytes.begin(), view.bytes.end(), want.bytes.begin(), want.bytes.end()));
  }
}

bool is_inside(std::span<const std::byte> part, std::span<const std::byte> whole) {
  return part.data() >= whole.data() && part.data() + part.size() <= whole.data() + whole.size();
}

PytorchFile parse_pytorch(const std::string& bytes) {
  return PytorchFile::parse(std::as_bytes(std::span(bytes)), "test");
}

}  // namespace

TEST_CASE("what PyTorch saved is read bit for bit", "[pytorch]") {
  const std::string name =
      GENERATE("views", "dtypes", "module_protocol2", "module_protocol3", "module_protocol4",
               "module_protocol5", "training", "typed", "legacy");
  CAPTURE(name);
  const PytorchFile file = PytorchFile::open(data_path("pytorch/" + name + ".bin"));
  check_same(file.tensors(), name + ".safetensors");
  CHECK(file.file_bytes() == fs::file_size(data_path("pytorch/" + name + ".bin")));
}

TEST_CASE("row-major tensors stay in the map, aligned, and share what they share", "[pytorch]") {
  PytorchFile file = PytorchFile::open(data_path("pytorch/views.bin"));
  const std::span<const std::byte> map = file.mapping()->bytes();
  for (const char* name :
       {"whole", "rows", "part", "offset", "scalar", "one", "odd_strides", "tied"})
    CHECK(is_inside(file.tensors().at(name).bytes, map));
  for (const char* name : {"transposed", "columns", "every_other", "permuted", "one_column",
                           "expanded", "constant", "overlapping"})
    CHECK(!is_inside(file.tensors().at(name).bytes, map));
  const TensorView& whole = file.tensors().at("whole");
  CHECK(whole.bytes.data() == file.tensors().at("tied").bytes.data());
  CHECK(reinterpret_cast<uintptr_t>(whole.bytes.data()) % 64 == 0);
  CHECK(file.take_copies().size() == 10);
}

TEST_CASE("shards of PyTorch's index are one model", "[pytorch]") {
  TensorSource tensors;
  for (const char* part : {"pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"})
    add_pytorch_file(data_path(std::string("pytorch/sharded/") + part), tensors);
  CHECK(tensors.files.size() == 2);
  std::map<std::string, TensorView> views;
  for (const auto& [name, entry] : tensors.tensors) views[name] = entry.view;
  check_same(views, "sharded/expected.safetensors");
}

TEST_CASE("the original layout, tied and transposed, is the model that safetensors hold",
          "[pytorch]") {
  const TemporaryFolder folder;
  fs::copy(data_path("pytorch/mamba"), folder / "model");
  const Checkpoint pytorch = open_checkpoint(folder / "model", false);
  CHECK(pytorch.copies.size() == 1);
  // Where both are, safetensors come first.
  fs::rename(folder / "model/expected.safetensors", folder / "model/model.safetensors");
  const Checkpoint safetensors = open_checkpoint(folder / "model", false);
  CHECK(safetensors.copies.empty());
  CHECK(checkpoint_xxh3(pytorch) == checkpoint_xxh3(safetensors));
  CHECK(pytorch.tensor_bytes == safetensors.tensor_bytes);
  fs::remove(folder / "model/model.safetensors");
  CHECK(run_model(folder / "model").status == KLENS_OK);
}

TEST_CASE("archives of every sound form are read", "[pytorch]") {
  const std::string pickle = pickles::dict(
      pickles::TensorText{.count = 2, .sizes = pickles::tuple({2}), .strides = pickles::tuple({1})}
          .str());
  const bool entry_64 = GENERATE(false, true), end_64 = GENERATE(false, true);
  const std::string comment = GENERATE("", "a comment", "PK\x05\x06");
  CAPTURE(entry_64, end_64, comment);
  const std::string bytes =
      stored_zip({{.name = "x y/data.pkl", .contents = pickle},
                  {.name = "x y/data/", .contents = ""},
                  {.name = "x y/data/0", .contents = "12345678", .in_64 = entry_64}},
                 {.in_64 = end_64, .comment = comment});
  const PytorchFile file = parse_pytorch(bytes);
  REQUIRE(file.tensors().size() == 1);
  const TensorView& view = file.tensors().at("a");
  CHECK(view.shape == std::vector<int64_t>{2});
  CHECK(std::memcmp(view.bytes.data(), "12345678", 8) == 0);
}

TEST_CASE("every truncation of PyTorch's files is refused", "[pytorch]") {
  const std::string name = GENERATE("views", "module_protocol4", "legacy", "mamba/pytorch_model");
  const std::string bytes = read_bytes(data_path("pytorch/" + name + ".bin"));
  for (size_t length = 0; length < bytes.size(); ++length) {
    CAPTURE(name, length);
    try {
      parse_pytorch(bytes.substr(0, length));
      FAIL_CHECK("was read");
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::kBadFile);
      CHECK_THAT(error.what(), Catch::StartsWith("test: ") && Catch::Contains("again"));
    }
  }
}

TEST_CASE("a bit flipped in PyTorch's files does no harm", "[pytorch]") {
  const std::string name = GENERATE("views", "dtypes", "module_protocol4", "legacy", "typed");
  const std::string sound = read_bytes(data_path("pytorch/" + name + ".bin"));
  size_t refused = 0;
  for (size_t bit = 0; bit < 8 * sound.size(); ++bit) {
    std::string bytes = sound;
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << bit % 8));
    try {
      const PytorchFile file = parse_pytorch(bytes);
      for (const auto& [tensor, view] : file.tensors())
        if (view.bytes.size() != static_cast<size_t>(view.elements()) * dtype_bytes(view.dtype))
          FAIL_CHECK("bit " << bit << ": " << tensor);
    } catch (const Error& error) {
      ++refused;
      if (error.kind() != ErrorKind::kBadFile && error.kind() != ErrorKind::kUnsupported)
        FAIL_CHECK("bit " << bit << ": " << error.what());
    }
  }
  CHECK(refused > sound.size());
}

}  // namespace klens
