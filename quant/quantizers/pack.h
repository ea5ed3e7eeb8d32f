#pragma once
#include <algorithm>
#include <functional>
#include <span>
#include <vector>

#include "quant/packed_weight.h"

namespace klens {

// What all quantizers share: reading weights, rounding them to a grid, and laying integers out as
// kernels/weights.h says. A quantizer is then what it chooses for a group of columns.

// The numbers a group can become: scale * q + min for whole q. Before they are rounded to FP16.
struct Grid {
  float scale, min = 0;
};

// The integers of an integer format: `lowest` to `highest`, stored with `offset` added.
struct Levels {
  int32_t lowest, highest, offset;
};
Levels levels_of(const Format& format);

// Lays the integers of one matrix out. Different outputs of different tiles (16 outputs) may be put
// from different threads.
class IntegerPacker {
 public:
  // `source` is any layout; its weights are finite.
  IntegerPacker(const Format& format, const WeightView& source);
  const Levels& levels() const { return levels_; }
  int64_t group() const { return std::min(view_.group, view_.cols); }
  int64_t groups() const { return view_.groups(); }
  // Codes of a row with its padding, all of them the integer 0: what put() takes.
  std::vector<uint8_t> blank_codes() const;
  // The weights of an output as floats: in `room` [cols], or where they lie if they are that
  // already.
  const float* read(int64_t row, std::vector<float>& room) const;
  // A group's grid, rounded to FP16; what it has become is returned.
  Grid put_grid(int64_t row, int64_t group, const Grid& grid);
  void put(int64_t row, const uint8_t* codes);
  // The matrix, its padding filled.
  PackedWeight take();

 private:
  const WeightView& source_;
  PackedWeight packed_;
  WeightView view_;
  Levels levels_;
};

// One output's codes [cols, padded to tiles] to its words of a row of tiles.
void put_codes(const uint8_t* codes, const WeightView& view, int64_t output, std::byte* tiles);

// The grid for these weights of one output, the group's columns from `column` on.
using GridRule = std::function<Grid(std::span<const float> weights, int64_t column)>;

// Integer formats: each group gets its grid by the rule, each for itself; in FP16, whose magnitude
// is at most 65504 and a scale's at least 2^-24,
//   q = clamp(rne((w - min) / scale), lowest, highest).
// `source` is any layout; its weights are finite. Threads: tbb's current arena.
PackedWeight pack_integers(const Format& format, const WeightView& source, const GridRule& rule);

// FP16: each weight rounded to nearest even, at most 65504 in magnitude.
PackedWeight pack_halves(const Format& format, const WeightView& source);

// The largest |weight|, or what FP16 can hold at most where the weights are FP16.
float largest_weight(const WeightView& source);
// Whether a format holds weights up to `largest`: its numbers, scales or minima are FP16.
bool reaches(const Format& format, float largest);

}  // namespace klens
