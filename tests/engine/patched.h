#pragma once
// Goldens whose config or weights are others.
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "engine/session.h"
#include "loaders/mapped_file.h"
#include "tests/testing.h"

namespace klens::testing {

// A golden with its config changed by a merge patch, and weights multiplied: those of tensors whose
// names end like this, rows from `first` on.
struct Scaling {
  const char* ending;
  float by;
  int64_t first = 0, count = INT64_MAX;
};

class Patched {
 public:
  Patched(const std::string& golden, const char* patch, const std::vector<Scaling>& scalings = {}) {
    const std::string from = data_path("goldens/" + golden);
    nlohmann::json config = nlohmann::json::parse(read_text(from + "/config.json"));
    config.merge_patch(nlohmann::json::parse(patch));
    std::ofstream(folder_ / "config.json") << config;
    const SafetensorsFile file = SafetensorsFile::open(from + "/model.safetensors");
    std::string bytes = read_text(from + "/model.safetensors");
    for (const auto& [name, view] : file.tensors())
      for (const Scaling& scaling : scalings)
        if (name.ends_with(scaling.ending))
          scale(view, scaling, bytes.data() + (view.bytes.data() - file.mapping()->bytes().data()));
    std::ofstream(folder_ / "model.safetensors") << bytes;
  }
  std::shared_ptr<const Model> open(KvType kv, ModelOptions options = {.threads = 2}) const {
    options.kv = kv;
    return std::make_shared<const Model>(open_checkpoint(folder_.path(), false), options);
  }
  std::string path() const { return folder_.path(); }

 private:
  static void scale(const TensorView& view, const Scaling& scaling, char* bytes) {
    const int64_t row = view.elements() / view.shape[0];
    const int64_t end = std::min(view.shape[0], scaling.first + scaling.count);
    for (int64_t i = scaling.first * row; i < end * row; ++i) {
      float value = 0;
      std::memcpy(&value, bytes + 4 * i, sizeof value);
      value *= scaling.by;
      std::memcpy(bytes + 4 * i, &value, sizeof value);
    }
  }

  TemporaryFolder folder_;
};

inline std::vector<float> logits_of(const std::shared_ptr<const Model>& model) {
  std::vector<int32_t> ids(40);
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(7 * i % 160);
  Session session(model, 512);
  session.eval(std::span(ids).first(30), nullptr);
  for (size_t i = 30; i < ids.size(); ++i) session.eval({&ids[i], 1}, nullptr);
  return {session.logits().begin(), session.logits().end()};
}

}  // namespace klens::testing
