#pragma once
#include <string>
#include <vector>

#include "kernels/weights.h"
#include "loaders/safetensors.h"

namespace klens {

// What to do about weights of a type that klens does not compute with: "; convert ...".
std::string dtype_cure(const std::string& dtype);

// The row layout of a weight of this type. Throws Error (`where` names file and tensor) for types
// that are no weights.
Layout row_layout(DType dtype, const std::string& where);

// Throws Error if a value of an F32, F16 or BF16 tensor is NaN or infinite.
void refuse_non_finite(const TensorView& tensor, const std::string& where);

// The values of a tensor that refuse_non_finite lets pass.
std::vector<float> to_f32(const TensorView& tensor);

}  // namespace klens
