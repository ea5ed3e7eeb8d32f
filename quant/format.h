#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include "kernels/weights.h"
#include "quant/table.h"

namespace klens {

// How the weights of a unit are stored. The name is what files, options and reports say.
struct Format {
  const char* name;
  const char* about;  // for lists of formats: one line, no full stop
  Layout layout;
  int64_t group;  // columns per weight scale; 0: none; kWholeRow: one per output
  // Columns per activation scale on the integer path, at least the group but for kWholeRow; 0: FP32
  // activations.
  int64_t activation_group;
  bool minimum;    // a minimum per group beside its scale
  bool candidate;  // measured where a profile is asked for no formats in particular
  int colour;      // of plan maps, one of a terminal's 256: red is careful, green coarse
  // Of budgets of fewer bits per weight it is a candidate too. Above, plans are worse for it: what
  // is measured of a unit is its coarsest format, and tells less of the finer ones the coarser it
  // is.
  double below = 0;
};

inline constexpr int64_t kWholeRow = int64_t{1} << 40;

// Most precise first. Adding a format is a row here and its layout's kernels. INT8 weights lose so
// little that their activations would be what is lost: those have a scale for every 32 columns,
// because out_proj's have outliers (bench/RESULTS.md, "What INT8 activations cost"). Groups of 16
// are what files of other programs have; who starts from a checkpoint has better rows of their
// sizes.
inline constexpr Format kFormats[] = {
    {"fp16", "half precision", Layout::kTilesF16, 0, 0, false, false, 210},
    {"int8g32", "8 bits, a scale per 32 columns", Layout::kTilesI8, 32, 32, false, true, 216},
    {"int8", "8 bits, a scale per row", Layout::kTilesI8, kWholeRow, 32, false, true, 222},
    {"int6g16", "6 bits, a scale per 16 columns", Layout::kTilesI6, 16, 32, false, false, 187},
    {"int6g32", "6 bits, a scale per 32 columns", Layout::kTilesI6, 32, 32, false, true, 229},
    {"int5ag32", "5 bits, a scale and a minimum per 32 columns", Layout::kTilesI5, 32, 32, true,
     true, 228},
    {"int5g32", "5 bits, a scale per 32 columns", Layout::kTilesI5, 32, 32, false, true, 192},
    {"int4ag32", "4 bits, a scale and a minimum per 32 columns", Layout::kTilesI4, 32, 32, true,
     true, 186},
    {"int4g32", "4 bits, a scale per 32 columns", Layout::kTilesI4, 32, 32, false, true, 193},
    {"int4g64", "4 bits, a scale per 64 columns", Layout::kTilesI4, 64, 64, false, true, 157},
    {"int4g128", "4 bits, a scale per 128 columns", Layout::kTilesI4, 128, 128, false, true, 115},
    {"int3g16", "3 bits, a scale per 16 columns", Layout::kTilesI3, 16, 32, false, false, 79, 4.6},
    {"int2ag16", "2 bits, a scale and a minimum per 16 columns", Layout::kTilesI2, 16, 32, true,
     false, 78, 4},
    {"int3g32", "3 bits, a scale per 32 columns", Layout::kTilesI3, 32, 32, false, false, 77, 4.6},
    {"int2g32", "2 bits, a scale per 32 columns", Layout::kTilesI2, 32, 32, false, false, 76, 4},
};

// What a unit has before anything is decided: a candidate of every unit, asked for or not.
inline constexpr const Format& kBaseFormat = kFormats[0];
// The least that integers lose.
inline constexpr const Format& kFinestIntegers = kFormats[1];

// Null for an unknown name.
constexpr const Format* find_format(std::string_view name) { return find_row(kFormats, name); }

// "int8,int4g32,...": the list that a profile measures where none is given.
std::string default_formats();

// Bits per weight of a large matrix, scales counted.
double bits_per_weight(const Format& format);

// Bytes of the parts of a rows x cols matrix as a model file stores them: tiles; and FP16 scales,
// the minima after them, padded to a multiple of 64 bytes.
size_t weight_bytes(const Format& format, int64_t rows, int64_t cols);
size_t scale_bytes(const Format& format, int64_t rows, int64_t cols);
inline size_t packed_bytes(const Format& format, int64_t rows, int64_t cols) {
  return weight_bytes(format, rows, cols) + scale_bytes(format, rows, cols);
}

// The view of packed parts. scale may be null for formats without scales.
WeightView packed_view(const Format& format, int64_t rows, int64_t cols, const void* qweight,
                       const void* scale);

}  // namespace klens
