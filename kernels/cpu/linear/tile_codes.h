// What the kernels of one instruction set have to know of an integer layout at compile time.
// Everything here is internal to the file that includes it: see kernels/README.md for the one rule
// of such files.
#pragma once
#include <cstdint>

#include "kernels/weights.h"

namespace klens::cpu {
namespace {

// A tile is kVectors vectors, four columns of 16 outputs each: whole lines of INT8, or nibbles or
// pairs of bits, with the bits that planes add to them. Minima: whether there may be any. For
// kTilesI4 that is another instance, so that those without pay nothing.
template <Layout L, bool Minima = tile_cols(L) == 32>
struct TileCodes {
  static constexpr Layout kLayout = L;
  static constexpr bool kMinima = Minima;
  static constexpr bool kInt8 = L == Layout::kTilesI8;
  static constexpr int64_t kCols = tile_cols(L), kBytes = tile_bytes(L);
  static constexpr int kVectors = kCols / 4;
  static constexpr int kBits = code_bits(L);
  // Integers are codes less 2^kOffsetBits where there are no minima.
  static constexpr int kOffsetBits = kBits - 1;
  // Of vector v: the line with its low bits, and where in a byte they lie.
  static constexpr int kLowBits = kBits == 8 ? 8 : kBits < 4 ? 2 : 4;
  static constexpr int kLowMask = (1 << kLowBits) - 1;
  static constexpr int low_line(int v) { return v * kLowBits / 8; }
  static constexpr int low_shift(int v) { return v * kLowBits % 8; }
  // Its line of planes, and how far its bits there move to be above the low ones (to the right
  // where negative).
  static constexpr int kPlaneBits = kBits - kLowBits;
  static constexpr int kPlaneMask = ((1 << kPlaneBits) - 1) << kLowBits;
  static constexpr int kPlanes = kVectors * kLowBits / 8;  // the first line of them
  static constexpr int plane_line(int v) { return kPlanes + v * kPlaneBits / 8; }
  static constexpr int plane_shift(int v) { return kLowBits - v * kPlaneBits % 8; }
};

// f(a TileCodes) for W.
template <class F>
inline void with_codes(const WeightView& w, const F& f) {
  switch (w.layout) {
    case Layout::kTilesI4:
      return w.min == nullptr ? f(TileCodes<Layout::kTilesI4>())
                              : f(TileCodes<Layout::kTilesI4, true>());
    case Layout::kTilesI5:
      return f(TileCodes<Layout::kTilesI5>());
    case Layout::kTilesI6:
      return f(TileCodes<Layout::kTilesI6>());
    case Layout::kTilesI2:
      return f(TileCodes<Layout::kTilesI2>());
    case Layout::kTilesI3:
      return f(TileCodes<Layout::kTilesI3>());
    default:
      return f(TileCodes<Layout::kTilesI8>());
  }
}

}  // namespace
}  // namespace klens::cpu
