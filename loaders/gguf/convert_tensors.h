#pragma once
#include <span>
#include <string>

#include "loaders/gguf/mapping.h"
#include "loaders/model_spec.h"
#include "loaders/tensor_source.h"

namespace klens {

// Makes the checkpoint's tensors. F32, F16 and BF16 that only changed their name stay where they
// are mapped. Quantised matrices that one of our formats holds become its tiles, unit by unit of
// `spec`; others become FP16, or FP32 where FP16 does not reach; what has to be put together or
// permuted is copied in its own type. Throws Error naming the file, the tensor and the cure.
void convert_tensors(const std::string& file, std::span<const TensorRecipe> recipes,
                     const ModelSpec& spec, TensorSource& source);

}  // namespace klens
