#include "tests/loaders/architectures.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "tests/loaders/damage.h"
#include "tests/testing.h"

namespace klens::testing {

ModelSpec build(const std::string& config, const std::vector<std::string>& held) {
  return build_spec(Config(config, "config.json"), [&](const std::string& name) {
    return std::count(held.begin(), held.end(), name) != 0;
  });
}

std::string published_config(const std::string& name) {
  return read_bytes(data_path("configs/" + name + ".json"));
}

ModelSpec build_published(const std::string& name, const std::vector<std::string>& held) {
  return build(published_config(name), held);
}

ModelSpec build_patched(const std::string& name, const std::string& patch,
                        const std::vector<std::string>& held) {
  std::string text = published_config(name);
  // Infinity is Python's, not JSON's.
  const size_t infinite = text.find("Infinity");
  if (infinite != text.npos) text.replace(infinite, 8, R"({"__float__":"Infinity"})");
  nlohmann::json config = nlohmann::json::parse(text);
  config.merge_patch(nlohmann::json::parse(patch));
  return build(config.dump(), held);
}

std::string refusal(const std::function<void()>& build) {
  try {
    build();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

const MatrixSpec& matrix(const ModelSpec& spec, const std::string& name) {
  const auto found = std::find_if(spec.matrices.begin(), spec.matrices.end(),
                                  [&](const MatrixSpec& one) { return one.name == name; });
  INFO(name);
  REQUIRE(found != spec.matrices.end());
  return *found;
}

bool has_matrix(const ModelSpec& spec, const std::string& name) {
  return std::any_of(spec.matrices.begin(), spec.matrices.end(),
                     [&](const MatrixSpec& one) { return one.name == name; });
}

const SmallSpec* find_small(const ModelSpec& spec, const std::string& tensor) {
  for (const SmallSpec& small : spec.smalls)
    if (small.tensor == tensor) return &small;
  return nullptr;
}

std::vector<int64_t> shape_of(const ModelSpec& spec, const std::string& tensor) {
  const SmallSpec* small = find_small(spec, tensor);
  return small == nullptr ? std::vector<int64_t>{} : small->shape;
}

std::string blocks_of(const ModelSpec& spec) {
  std::string letters;
  for (const BlockSpec& block : spec.blocks) {
    if (block.shared) letters += 's';
    letters += "mM*-EPHCD"[block.mixer.index()];
  }
  return letters;
}

}  // namespace klens::testing
