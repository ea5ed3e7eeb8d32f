#pragma once
#include <cstdint>
#include <span>

#include "kernels/cpu/variant.h"

namespace klens::cpu {

// Symmetric INT8 quantisation of activations, one scale per token and group of columns:
//   scale = max|x| / 127;  q = round to nearest even(x * (127 / max|x|)), clamped to [-127, 127];
// a group with max|x| below the floor counts as zeros and has scale 0 and q 0. Inputs are finite.
// The floor keeps 127 / max|x| finite.
inline constexpr float kQuantizeActivationsFloor = 0x1p-120f;

struct QuantizeActivationsArgs {
  const float* x;  // [tokens][cols], rows x_stride floats apart
  int64_t x_stride;
  int64_t tokens;
  int64_t cols;
  int64_t group;     // a multiple of 32; the last group may be short
  int64_t step;      // columns to a number of scale and sum: group, or 16 where that is 32, for
                     // weights in groups of 16; both steps of a group then have its scale
  int8_t* q;         // [tokens][q_stride]; written up to cols rounded up to 32, zero beyond cols
  int64_t q_stride;  // a multiple of 32
  float* scale;      // [tokens][ceil(cols / step)]
  int32_t* sum;      // [tokens][ceil(cols / step)]: sum of the step's q
};

// Every variant gives the same bits.
using QuantizeActivations = void(const QuantizeActivationsArgs&);

std::span<const Variant<QuantizeActivations>> quantize_activations_variants();

}  // namespace klens::cpu
