#include "loaders/architectures/architecture.h"
#include "loaders/architectures/mamba.h"

namespace klens {
namespace {

constexpr Architecture kArchitectures[] = {
    {"MambaForCausalLM", build_mamba},
    {"FalconMambaForCausalLM", build_falcon_mamba},
    {"MambaLMHeadModel", build_original_mamba},
};

// The original state-spaces configs name no architecture.
std::string architecture_of(const Config& config) {
  const std::string name = config.architecture();
  if (!name.empty()) return name;
  if (config.has({"d_model"}) && config.has({"n_layer"})) return "MambaLMHeadModel";
  config.fail("names no architecture: architectures[0] is missing");
}

std::string known_names() {
  std::string names;
  for (const Architecture& row : kArchitectures)
    names += (names.empty() ? "" : ", ") + std::string(row.name);
  return names;
}

std::vector<int32_t> token_list(const Config& config, const char* key) {
  constexpr int64_t kMaxToken = int64_t{1} << 24;
  if (!config.has({key})) return {};
  if (!config.is_list(key)) return {static_cast<int32_t>(config.integer({key}, 0, kMaxToken))};
  std::vector<int32_t> ids;
  for (int64_t id : config.integers(key, 0, kMaxToken)) ids.push_back(static_cast<int32_t>(id));
  return ids;
}

}  // namespace

ModelSpec build_spec(const Config& config, const Config& generation, const HasTensor& has) {
  const std::string name = architecture_of(config);
  for (const Architecture& row : kArchitectures) {
    if (name != row.name) continue;
    ModelSpec spec = row.build(config, has);
    spec.architecture = name;
    spec.eos = token_list(generation, "eos_token_id");
    if (spec.eos.empty()) spec.eos = token_list(config, "eos_token_id");
    const std::vector<int32_t> bos = token_list(config, "bos_token_id");
    if (!bos.empty()) spec.bos = bos.front();
    return spec;
  }
  config.unsupported("architecture " + name + " is not one that klens runs (" + known_names() +
                     ")");
}

}  // namespace klens
