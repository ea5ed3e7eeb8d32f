// Writes the seeds of tests/fuzz/corpus that are binary: run klens_loader_tests "[make-corpus]"
// when a format has changed, and commit what it writes.
#include <catch2/catch.hpp>
#include <filesystem>

#include "tests/loaders/damage.h"
#include "tests/testing.h"

namespace klens::testing {

TEST_CASE("seeds for the fuzzers", "[.][make-corpus]") {
  const std::string corpus = std::string(KLENS_TEST_DATA) + "/../fuzz/corpus/";
  const TemporaryFolder folder;
  std::filesystem::create_directories(corpus + "klens_file");
  std::filesystem::create_directories(corpus + "safetensors");
  write_tiny_checkpoint(folder / "tied", {});
  write_tiny_checkpoint(folder / "untied",
                        {.d_model = 9, .vocab = 5, .tied = false, .dtype = DType::kF16});
  quantise(folder / "tied", corpus + "klens_file/int4g64", "int4g64");
  quantise(folder / "tied", corpus + "klens_file/int8", "int8");
  quantise(folder / "untied", corpus + "klens_file/fp16", "fp16");

  const TensorEntry entries[] = {{"f32", DType::kF32, {2, 2}, 16},
                                 {"bf16", DType::kBf16, {3}, 6},
                                 {"f16", DType::kF16, {1, 1, 1}, 2},
                                 {"u8", DType::kU8, {0, 4}, 0}};
  const std::string header = safetensors_header(entries, {{"format", "pt"}});
  write_bytes(corpus + "safetensors/dtypes", header + std::string(24, '\x3c'));
  write_bytes(corpus + "safetensors/none", safetensors_header({}, {}));
}

}  // namespace klens::testing
