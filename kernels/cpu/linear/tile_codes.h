// What the kernels of one instruction set have to know of an integer layout at compile time.
// Everything here is internal to the file that includes it: see kernels/README.md for the one rule
// of such files.
#pragma once
#include <cstdint>

#include "kernels/weights.h"

namespace klens::cpu {
namespace {

// A tile is kVectors vectors, four columns of 16 outputs each: whole lines of INT8, and nibbles
// with the bits that planes add to them. Minima: whether there may be any. For kTilesI4 that is
// another instance, so that those without pay nothing.
template <Layout L, bool Minima = L == Layout::kTilesI5 || L == Layout::kTilesI6>
struct TileCodes {
  static constexpr Layout kLayout = L;
  static constexpr bool kMinima = Minima;
  static constexpr bool kInt8 = L == Layout::kTilesI8;
  static constexpr int64_t kCols = tile_cols(L), kBytes = tile_bytes(L);
  static constexpr int kVectors = kCols / 4;
  static constexpr int kBits = kInt8                   ? 8
                               : L == Layout::kTilesI5 ? 5
                               : L == Layout::kTilesI6 ? 6
                                                       : 4;
  // Integers are codes less 2^kOffsetBits where there are no minima.
  static constexpr int kOffsetBits = kBits - 1;
  // Of vector v: its line of planes, where its bits lie in a byte of it, and how far they move to
  // be above the nibble (to the right where negative).
  static constexpr int kPlaneBits = kBits == 8 ? 0 : kBits - 4;
  static constexpr int kPlaneMask = ((1 << kPlaneBits) - 1) << 4;
  static constexpr int plane_line(int v) { return 4 + v * kPlaneBits / 8; }
  static constexpr int plane_shift(int v) { return 4 - v * kPlaneBits % 8; }
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
    default:
      return f(TileCodes<Layout::kTilesI8>());
  }
}

}  // namespace
}  // namespace klens::cpu
