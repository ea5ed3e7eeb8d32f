// A file is what its first bytes say, whatever its name.
#include "loaders/file_kind.h"

#include <catch2/catch.hpp>
#include <filesystem>

#include "base/error.h"
#include "loaders/checkpoint.h"
#include "tests/loaders/damage.h"
#include "tests/testing.h"

namespace klens {
namespace {

using namespace klens::testing;
namespace fs = std::filesystem;

constexpr const char* kPointer =
    "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 98304\n";
constexpr const char* kPage = "\n<!DOCTYPE html>\n<html><body>Sign in</body></html>\n";

FileKind kind_of(std::string_view text) { return kind_of_bytes(std::as_bytes(std::span(text))); }

// A golden checkpoint, as a copy that may be changed.
void copy_model(const std::string& name, const std::string& to) {
  fs::copy(data_path("goldens/" + name), to, fs::copy_options::recursive);
}

}  // namespace

TEST_CASE("first bytes tell the kinds apart", "[file-kind]") {
  using namespace std::string_view_literals;
  const std::pair<std::string_view, FileKind> rows[] = {
      {"GGUF\3\0\0\0", FileKind::kGguf},
      {"\x10\0\0\0\0\0\0\0{\"__metadata__\""sv, FileKind::kSafetensors},
      {"PK\3\4rest", FileKind::kPytorch},
      {"\x80\2\x8a\nl", FileKind::kPytorch},
      {kPointer, FileKind::kLfsPointer},
      {kPage, FileKind::kHtml},
      {"\xef\xbb\xbf<HTML lang=en>", FileKind::kHtml},
      {"", FileKind::kUnknown},
      {"{\"a\": [1, 2], \"b\": {}}", FileKind::kUnknown},
      {"GGU", FileKind::kUnknown},
      {"<tag>text</tag>", FileKind::kUnknown}};
  for (const auto& [text, kind] : rows) {
    CAPTURE(text);
    CHECK(kind_of(text) == kind);
  }
}

TEST_CASE("what stands in place of a file is said, with the cure", "[file-kind]") {
  const TemporaryFolder folder;
  for (const char* name : {"model.safetensors", "config.json", "tokenizer_config.json"}) {
    for (const auto& [text, words] :
         {std::pair{kPointer, "git lfs pull"}, std::pair{kPage, "is an HTML page"}}) {
      const std::string copy = folder / (name + std::to_string(text == kPage));
      copy_model("llama", copy);
      write_bytes(copy + "/" + name, text);
      CAPTURE(copy);
      CHECK_THROWS_WITH(open_checkpoint(copy, false),
                        Catch::Contains(std::string(name) + ": is ") && Catch::Contains(words));
    }
  }
  for (const char* name : {"model.gguf", "model.klens", "model"}) {
    write_bytes(folder / name, kPointer);
    CHECK_THROWS_WITH(open_checkpoint(folder / name, false), Catch::Contains("git lfs pull"));
  }
  write_bytes(folder / "weights", "PK\3\4");
  CHECK_THROWS_WITH(open_checkpoint(folder / "weights", false),
                    Catch::Contains("is a PyTorch file") && Catch::Contains("give the folder"));
  CHECK_THROWS_WITH(
      open_checkpoint(data_path("goldens/llama/config.json"), false),
      Catch::Contains("is a JSON file") && Catch::Contains("give the checkpoint folder"));
}

TEST_CASE("a GGUF file needs no name ending, and may be alone in a folder", "[file-kind]") {
  const std::string gguf = data_path("gguf/llama.gguf");
  const TemporaryFolder folder;
  const std::string hash = checkpoint_xxh3(open_checkpoint(gguf, false));
  for (const char* name : {"sha256-4d7a", "model.klens", "model.bin"}) {
    fs::copy_file(gguf, folder / name);
    CHECK(checkpoint_xxh3(open_checkpoint(folder / name, false)) == hash);
  }
  CHECK_THROWS_WITH(open_checkpoint(folder.path(), false),
                    Catch::Contains("holds 3 models; name one"));
  fs::remove(folder / "model.klens");
  fs::remove(folder / "model.bin");
  write_bytes(folder / "README.md", "text");
  CHECK(checkpoint_xxh3(open_checkpoint(folder.path(), false)) == hash);
  write_bytes(folder / "config.json", "{}");  // published beside the file
  CHECK(checkpoint_xxh3(open_checkpoint(folder.path(), false)) == hash);
}

}  // namespace klens
