#pragma once
#include <memory>
#include <span>
#include <string>

#include "engine/model.h"

namespace klens {

// Writes the logits [ids][vocab] of a fresh sequence as one safetensors tensor "logits", FP32,
// atomically.
void export_logits(const std::shared_ptr<const Model>& model, std::span<const int32_t> ids,
                   const std::string& path);

}  // namespace klens
