#pragma once
#include <cstdint>

#include "kernels/weights.h"
#include "loaders/gguf/gguf_file.h"

namespace klens {

inline constexpr int kMostBlockValues = 256, kMostBlockGroups = 16;

// The numbers of one block of a quantised type, apart: value i is
//   scale[i / group] * q[i] (+ min[i / group], where the type has minima),
// and bit for bit what the gguf Python package gives if product and sum are each rounded to FP32.
struct GgufBlock {
  int8_t q[kMostBlockValues];
  float scale[kMostBlockGroups], min[kMostBlockGroups];
};

// A quantised type: how a block is taken apart, and what of ours holds its integers as they are.
struct GgufBlockType {
  GgmlType type;
  int64_t group;  // values that share a scale; blocks are whole groups
  bool minimum;
  Layout layout;
  // A scale or minimum is a product that FP16 may have to round. Where it is not, a scale that FP16
  // does not hold is one that the format cannot have.
  bool rounds;
  void (*decode)(const uint8_t* block, GgufBlock& to);
};

// Null for F32, F16 and BF16.
const GgufBlockType* find_block_type(GgmlType type);

}  // namespace klens
