#pragma once
#include <span>
#include <string>

#include "loaders/gguf/mapping.h"
#include "loaders/tensor_source.h"

namespace klens {

// Makes the checkpoint's tensors. F32, F16 and BF16 that only changed their name stay where they
// are mapped; what is quantised becomes FP16, or FP32 where FP16 does not reach, and what has to be
// put together or permuted is copied in its own type. Throws Error naming the file, the tensor and
// the cure.
void convert_tensors(const std::string& file, std::span<const TensorRecipe> recipes,
                     TensorSource& source);

}  // namespace klens
