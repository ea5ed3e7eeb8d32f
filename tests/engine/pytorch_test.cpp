// The same weights as pytorch_model.bin, written by PyTorch itself, give the same bits.
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>

#include "engine/session.h"
#include "tests/testing.h"

namespace klens {
namespace {

using namespace klens::testing;
namespace fs = std::filesystem;

std::string python() {
  const char* given = std::getenv("KLENS_PYTHON");
  return given != nullptr ? given : "python3";
}

bool run_python(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), python());
  std::vector<char*> words;
  for (std::string& argument : arguments) words.push_back(argument.data());
  words.push_back(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    ::execvp(words[0], words.data());
    ::_exit(127);
  }
  int status = 1;
  return child > 0 && ::waitpid(child, &status, 0) == child && status == 0;
}

bool have_torch() {
  static const bool have = [] {
    const bool found = run_python({"-c", R"(
import importlib.util, sys
sys.exit(not all(map(importlib.util.find_spec, ("torch", "safetensors"))))
)"});
    if (!found)
      std::cout << "skip: " << python()
                << " has no torch and safetensors (KLENS_PYTHON names one that has)\n";
    return found;
  }();
  return have;
}

std::vector<float> logits(const std::string& folder, const std::vector<int32_t>& ids,
                          Activations activations) {
  Session session(open_model(folder, 2, activations), 16);
  std::vector<float> logits(ids.size() * static_cast<size_t>(session.model().spec().vocab));
  session.eval(ids, logits.data());
  return logits;
}

void check_same_logits(const std::string& safetensors, const std::string& pytorch,
                       const std::vector<int32_t>& ids) {
  for (const Activations activations : {Activations::kF32, Activations::kInt8})
    CHECK(logits(safetensors, ids, activations) == logits(pytorch, ids, activations));
}

void copy(const std::string& from, const std::string& to) {
  fs::create_directories(fs::path(to).parent_path());
  fs::copy_file(from, to);
}

}  // namespace

TEST_CASE("a committed pytorch_model.bin gives the logits of its safetensors", "[pytorch]") {
  const TemporaryFolder folder;
  copy(data_path("pytorch/mamba/config.json"), folder / "st/config.json");
  copy(data_path("pytorch/mamba/expected.safetensors"), folder / "st/model.safetensors");
  check_same_logits(folder / "st", data_path("pytorch/mamba"), {0, 15, 3, 3, 9, 1, 12});
}

TEST_CASE("a golden saved by PyTorch gives the golden's logits", "[pytorch]") {
  if (!have_torch()) return;
  const std::string name = GENERATE(from_range(golden_names()));
  CAPTURE(name);
  const std::string golden = data_path("goldens/" + name);
  const auto ids =
      tensor_values<int32_t>(SafetensorsFile::open(golden + "/reference.safetensors"), "input_ids");
  const TemporaryFolder folder;
  copy(golden + "/config.json", folder / "config.json");
  copy(golden + "/model.safetensors", folder / "saved.safetensors");
  // Every golden in one file, one of them also in shards: the index is the same for all.
  std::vector<std::string> convert = {data_path("make_pytorch.py"), "convert", folder.path(),
                                      "saved", "pytorch_model"};
  if (name == "mamba") convert.push_back("3");
  REQUIRE(run_python(convert));
  fs::remove(folder / "saved.safetensors");
  CHECK(fs::exists(folder / "pytorch_model.bin.index.json") == (name == "mamba"));
  check_same_logits(golden, folder.path(), ids);
}

}  // namespace klens
