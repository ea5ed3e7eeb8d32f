// Files cut anywhere and files with any bit flipped open or give an Error; nothing else happens.
#include <catch2/catch.hpp>
#include <filesystem>

#include "tests/loaders/damage.h"
#include "tests/testing.h"

namespace klens {
namespace {

using namespace klens::testing;

const std::string& tiny_klens() {
  static const std::string bytes = [] {
    const TemporaryFolder folder;
    write_tiny_checkpoint(folder / "model", {});
    quantise(folder / "model", folder / "model.klens", "int4g64");
    return read_bytes(folder / "model.klens");
  }();
  return bytes;
}

size_t header_end(const std::string& bytes) {
  uint64_t size = 0;
  std::memcpy(&size, bytes.data(), sizeof size);
  return sizeof size + size;
}

// An error of the file, in one line.
void check_refused_outcome(const Outcome& outcome) {
  if (outcome.status != KLENS_IO && outcome.status != KLENS_BAD_FILE) {
    CAPTURE(outcome.message);
    FAIL_CHECK("status " << outcome.status);
  }
  if (outcome.message.empty() || outcome.message.find('\n') != std::string::npos)
    FAIL_CHECK("message: " << outcome.message);
}

void check_truncations(const std::string& bytes, const std::string& file,
                       const std::string& model) {
  const size_t header = header_end(bytes);
  for (size_t length = 0; length < bytes.size(); length += length < header + 8 ? 1 : 13) {
    CAPTURE(length);
    std::filesystem::remove(file);  // a fresh file, so that no page holds what was cut off
    write_bytes(file, std::string_view(bytes).substr(0, length));
    check_refused_outcome(open_model(model, false));
  }
}

}  // namespace

TEST_CASE("every truncation of a checkpoint is refused", "[truncation]") {
  const TemporaryFolder folder;
  write_tiny_checkpoint(folder / "model", {});
  const std::string file = folder / "model/model.safetensors";
  check_truncations(read_bytes(file), file, folder / "model");
}

TEST_CASE("every truncation of a model file is refused", "[truncation]") {
  const TemporaryFolder folder;
  check_truncations(tiny_klens(), folder / "cut.klens", folder / "cut.klens");
}

TEST_CASE("a model file with a bit flipped opens and runs, or is refused", "[truncation]") {
  const TemporaryFolder folder;
  const std::string& sound = tiny_klens();
  const std::string path = folder / "flipped.klens";
  const size_t bits = 8 * header_end(sound);
  int opened = 0;
  for (size_t bit = 0; bit < bits;
       bit += bit < 64 ? 1 : 17) {  // 17: all eight bits of bytes in turn
    CAPTURE(bit);
    std::string bytes = sound;
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << bit % 8));
    write_bytes(path, bytes);
    const Outcome outcome = run_model(path);
    if (outcome.status == KLENS_OK) {
      ++opened;
      // What a bit of free text says is nobody's to check; inspect shows it.
      CHECK(inspect_file(path, false).status == KLENS_OK);
    } else {
      CHECK(outcome.status != KLENS_INTERNAL);
      CHECK(outcome.message.find('\n') == std::string::npos);
    }
  }
  CHECK(opened > 0);
}

}  // namespace klens
