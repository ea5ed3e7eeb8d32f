// Models in several GGUF files.
#include <catch2/catch.hpp>
#include <filesystem>

#include "base/error.h"
#include "loaders/checkpoint.h"
#include "loaders/gguf/read_gguf.h"
#include "tests/loaders/damage.h"
#include "tests/loaders/gguf_builder.h"
#include "tests/testing.h"

namespace klens {
namespace {

using namespace klens::testing;

GgufBuilder& as_part(GgufBuilder& file, uint16_t number, uint16_t count) {
  return file.set("split.no", raw<uint32_t>(2) + raw(number))
      .set("split.count", raw<uint32_t>(2) + raw(count));
}

// A small model in one file and in three.
struct SplitModel {
  TemporaryFolder folder;
  std::vector<GgufBuilder> parts{3};
  std::string whole = folder / "whole.gguf";

  SplitModel() {
    GgufBuilder model = small_quantised_gguf_llama();
    add_gguf_tokenizer(model);
    write_bytes(whole, model.bytes());
    parts[0] = model;
    parts[0].tensors.clear();
    for (size_t i = 0; i < model.tensors.size(); ++i)
      parts[i * 3 / model.tensors.size()].tensors.push_back(model.tensors[i]);
    for (uint16_t i = 0; i < 3; ++i) as_part(parts[i], i, 3);
    parts[0].set("split.tensors.count",
                 raw<uint32_t>(5) + raw(static_cast<int32_t>(model.tensors.size())));
    for (size_t i = 0; i < 3; ++i) write(i);
  }
  std::string path(size_t part) const {
    return folder / ("parts/m-0000" + std::to_string(part + 1) + "-of-00003.gguf");
  }
  void write(size_t part) const {
    std::filesystem::create_directories(folder / "parts");
    write_bytes(path(part), parts[part].bytes());
  }
};

void check_refused_split(const std::string& path, std::initializer_list<std::string> words) {
  CAPTURE(path);
  try {
    open_checkpoint(path, false);
    FAIL_CHECK("was opened");
  } catch (const Error& error) {
    const std::string text = error.what();
    CHECK(text.find('\n') == std::string::npos);
    for (const std::string& word : words) CHECK_THAT(text, Catch::Contains(word));
  }
}

}  // namespace

TEST_CASE("a split GGUF is the model in one file", "[gguf]") {
  const SplitModel model;
  const Checkpoint whole = open_checkpoint(model.whole, false);
  // Of a folder that holds nothing else, too.
  for (const std::string& path : {model.path(0), model.folder / "parts"}) {
    const Checkpoint split = open_checkpoint(path, false);
    CHECK(checkpoint_xxh3(split) == checkpoint_xxh3(whole));
    CHECK(split.files.size() == 3);
    CHECK(split.tensor_bytes == whole.tensor_bytes);
    CHECK(split.file_bytes > whole.file_bytes);
    CHECK(split.name == whole.name);
  }
  CHECK(read_gguf_tokenizer(model.path(0)) == read_gguf_tokenizer(model.whole));
}

TEST_CASE("a split GGUF that is not whole is refused in a line that names the part", "[gguf]") {
  SplitModel model;
  SECTION("another part than the first") {
    check_refused_split(model.path(1),
                        {model.path(1), "part 2 of 3", "give the first", model.path(0)});
  }
  SECTION("a part is missing") {
    std::filesystem::remove(model.path(2));
    check_refused_split(model.path(0),
                        {model.path(2) + ": is missing", model.path(0), "part 1 of 3"});
  }
  SECTION("a part is cut short") {
    const std::string bytes = model.parts[1].bytes();
    write_bytes(model.path(1), bytes.substr(0, bytes.size() - 64));
    check_refused_split(model.path(0), {model.path(1), "truncated or damaged"});
  }
  SECTION("a part is no GGUF") {
    write_bytes(model.path(1), "nothing of the kind");
    check_refused_split(model.path(0), {model.path(1), "no GGUF file"});
  }
  SECTION("a part has another number") {
    as_part(model.parts[1], 2, 3);
    model.write(1);
    check_refused_split(model.path(0), {model.path(1), "is not part 2 of 3"});
  }
  SECTION("a part is of another model") {
    as_part(model.parts[1], 1, 4);
    model.write(1);
    check_refused_split(model.path(0), {model.path(1), "is not part 2 of 3"});
  }
  SECTION("a tensor is in two parts") {
    model.parts[2].tensors.push_back(model.parts[0].tensors[0]);
    model.write(2);
    check_refused_split(model.path(0),
                        {model.path(2), model.parts[0].tensors[0].name, "another part"});
  }
  SECTION("tensors are missing") {
    model.parts[2].tensors.pop_back();
    model.write(2);
    check_refused_split(model.path(0), {model.path(0), "split.tensors.count"});
  }
  SECTION("a value is damaged") {
    for (size_t part = 0; part < 3; ++part)
      for (GgufBuilder::Tensor& tensor : model.parts[part].tensors)
        if (tensor.name == "blk.0.ffn_down.weight") {
          tensor.data.replace(0, 2, raw<uint16_t>(0x7c00));
          model.write(part);
          check_refused_split(model.path(0), {model.path(part), tensor.name, "NaN or infinity"});
        }
  }
  SECTION("the file has another name") {
    const std::string other = model.folder / "first.gguf";
    std::filesystem::rename(model.path(0), other);
    check_refused_split(other, {other, "part 1 of 3", "-00001-of-00003.gguf", "llama-gguf-split"});
  }
}

}  // namespace klens
