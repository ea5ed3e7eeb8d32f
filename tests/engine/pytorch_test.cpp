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
    if (!found) {
      std::cout << "skip: " << python()
                << " has no torch and safetensors (KLENS_PYTHON names one that has)\n";
      skipped = true;
    }
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

TEST_CASE("goldens saved by PyTorch give the goldens' logits", "[pytorch][python]") {
  if (!have_torch()) return;
  const TemporaryFolder root;
  const auto convert = [](const char* shards, const std::vector<std::string>& folders) {
    std::vector<std::string> arguments = {data_path("make_pytorch.py"), "convert", shards};
    arguments.insert(arguments.end(), folders.begin(), folders.end());
    REQUIRE(run_python(arguments));
  };
  const auto prepare = [&](const std::string& golden, const std::string& folder) {
    copy(data_path("goldens/" + golden + "/config.json"), folder + "/config.json");
    copy(data_path("goldens/" + golden + "/model.safetensors"), folder + "/saved.safetensors");
    return folder;
  };
  const auto check = [](const std::string& golden, const std::string& folder) {
    CAPTURE(golden, folder);
    const std::string path = data_path("goldens/" + golden);
    const auto reference = SafetensorsFile::open(path + "/reference.safetensors");
    check_same_logits(path, folder, tensor_values<int32_t>(reference, "input_ids"));
  };
  // One run for all: importing torch takes longer than anything else here.
  std::vector<std::string> folders;
  for (const std::string& name : golden_names()) folders.push_back(prepare(name, root / name));
  convert("1", folders);
  convert("3", {prepare("mamba", root / "shards")});
  for (const std::string& name : golden_names()) check(name, root / name);
  CHECK(fs::exists(root / "shards/pytorch_model.bin.index.json"));
  check("mamba", root / "shards");
}

}  // namespace klens
