// For linear_i8_vnni.h and linear_i8_amx.h, in the words of `struct Simd`. Everything is internal
// to the file that includes it: see kernels/README.md for the one rule of such files.
#pragma once
#include "kernels/cpu/linear/tile_codes.h"

namespace klens::cpu {
namespace {

// Vector I of a tile, a code to a byte. load(args..., line): of the tile.
template <class Codes, int I, class Load, class... Args>
__attribute__((always_inline)) inline Simd::Ints codes_of(const Load& load, Args... args) {
  const Simd::Ints low =
      Simd::template bits<Codes::low_shift(I), Codes::kLowMask>(load(args..., Codes::low_line(I)));
  if constexpr (Codes::kPlaneBits == 0) {
    return low;
  } else {
    return Simd::template with_bits<Codes::plane_shift(I), Codes::kPlaneMask>(
        low, load(args..., Codes::plane_line(I)));
  }
}

}  // namespace
}  // namespace klens::cpu
