#pragma once
// Where tests find their data, and how they open models. One place for all test programs.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <iterator>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/model.h"
#include "loaders/safetensors.h"
#include "tests/skipped.h"

namespace klens::testing {

inline std::string data_path(const std::string& name) {
  return std::string(KLENS_TEST_DATA) + "/" + name;
}
inline std::string demo_model() { return KLENS_DEMO_MODEL; }

// Every architecture has a tiny model with the reference's outputs.
inline std::vector<std::string> golden_names() {
#ifdef __SANITIZE_THREAD__
  // Each kind of mixer once: who waits for whom does not depend on the architecture.
  return {"hymba", "jamba", "mamba2", "zamba2"};
#endif
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(data_path("goldens")))
    names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

// A file of the shared folder, which is not part of the repository; "" (and a line that says so) if
// absent. Tests that ask for one are tagged [shared].
inline std::string shared_path(const std::string& name) {
  const char* folder = std::getenv("KLENS_SHARED");
  const std::string path =
      (folder != nullptr ? std::string(folder) : std::string(KLENS_SHARED)) + "/" + name;
  if (std::filesystem::exists(path)) return path;
  std::cout << "skip: " << name << " is not here (set KLENS_SHARED to the shared folder)\n";
  skipped = true;
  return "";
}

// A folder that is empty when the test begins.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "klens-test-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) std::abort();
    path_ = pattern;
  }
  ~TemporaryFolder() {
    std::error_code ec;
    std::filesystem::remove_all(path_, ec);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

inline size_t files_in(const TemporaryFolder& folder) {
  const std::filesystem::directory_iterator files(folder.path());
  return static_cast<size_t>(std::distance(files, {}));
}

inline std::shared_ptr<const Model> open_model(const std::string& path, int threads = 2,
                                               Activations activations = Activations::kInt8) {
  return std::make_shared<const Model>(
      open_checkpoint(path, true), ModelOptions{.threads = threads, .activations = activations});
}

// All small tensors by name.
inline std::map<std::string, std::vector<float>> small_values(const Checkpoint& checkpoint) {
  std::map<std::string, std::vector<float>> values;
  for (const auto& [tensor, stored] : checkpoint.small) values[tensor] = to_f32(stored);
  return values;
}

template <class T>
std::vector<T> tensor_values(const SafetensorsFile& file, const std::string& name) {
  const TensorView& view = file.tensors().at(name);
  std::vector<T> values(view.bytes.size() / sizeof(T));
  std::memcpy(values.data(), view.bytes.data(), values.size() * sizeof(T));
  return values;
}

}  // namespace klens::testing
