#pragma once
#include <cstddef>
#include <cstdint>

#include "loaders/gguf/gguf_file.h"

namespace klens {

// The values of one row as FP32: bit for bit what the gguf Python package gives. `cols` is a
// multiple of the type's block.
void dequantize_row(GgmlType type, const std::byte* row, int64_t cols, float* values);

// To FP16, nearest, ties to even. False if a value is NaN or does not fit (65520 and more).
bool row_to_f16(const float* values, int64_t count, uint16_t* halves);

}  // namespace klens
