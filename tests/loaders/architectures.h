#pragma once
// Specs from configs, and what tests look at in them.
#include <functional>
#include <string>
#include <vector>

#include "loaders/architectures/architecture.h"

namespace klens::testing {

// The spec of config.json's text; `held`: the tensors of the checkpoint that rules may ask for.
ModelSpec build(const std::string& config, const std::vector<std::string>& held = {});
// Of tests/data/configs/NAME.json.
ModelSpec build_published(const std::string& name, const std::vector<std::string>& held = {});
std::string published_config(const std::string& name);
// The same with an RFC 7396 merge patch.
ModelSpec build_patched(const std::string& name, const std::string& patch,
                        const std::vector<std::string>& held = {"lm_head.weight"});
// What refusing it says; "" if it is not refused.
std::string refusal(const std::function<void()>& build);

const MatrixSpec& matrix(const ModelSpec& spec, const std::string& name);  // or fails the test
const SmallSpec* find_small(const ModelSpec& spec, const std::string& tensor);
bool has_matrix(const ModelSpec& spec, const std::string& name);
std::vector<int64_t> shape_of(const ModelSpec& spec, const std::string& tensor);
template <class Mixer>
const Mixer& mixer(const ModelSpec& spec, size_t block) {
  return std::get<Mixer>(spec.blocks.at(block).mixer);
}
// A letter for each block: m Mamba-1, M Mamba-2, * attention, - MLP, E experts, P parallel, H
// Hymba's, C short convolution, D Gated DeltaNet; a letter s before those that have a shared
// transformer.
std::string blocks_of(const ModelSpec& spec);

}  // namespace klens::testing
