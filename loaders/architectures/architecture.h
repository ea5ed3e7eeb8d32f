#pragma once
#include <functional>
#include <string>

#include "loaders/config.h"
#include "loaders/model_spec.h"

namespace klens {

// Whether the files hold a tensor of this name: for what configs leave open.
using HasTensor = std::function<bool(const std::string& tensor)>;

// A rule that turns a config into a model spec. Adding one is a file here and its row in
// registry.cpp.
struct Architecture {
  const char* name;  // as in config.json's architectures[0]
  // Throws Error for a config that lacks a key or asks for arithmetic that the spec cannot say.
  ModelSpec (*build)(const Config& config, const HasTensor& has);
};

// The spec of a checkpoint. Throws Error naming an unknown architecture and those known.
ModelSpec build_spec(const Config& config, const HasTensor& has);

}  // namespace klens
