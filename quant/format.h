#pragma once
#include <cstdint>
#include <span>
#include <string_view>

#include "kernels/weights.h"

namespace klens {

// How the weights of a unit are stored. The name is what files, options and reports say.
struct Format {
  const char* name;
  Layout layout;
  int64_t group;  // columns per weight scale; 0: none; kWholeRow: one per output
  int64_t
      activation_group;  // columns per activation scale on the integer path; 0: FP32 activations
};

inline constexpr int64_t kWholeRow = int64_t{1} << 40;

// Most precise first. Adding a format is a row here and its layout's kernels. INT8 weights lose so
// little that their activations would be what is lost: those have a scale for every 32 columns,
// because out_proj's have outliers (bench/RESULTS.md, "What INT8 activations cost").
inline constexpr Format kFormats[] = {
    {"fp16", Layout::kTilesF16, 0, 0},        {"int8", Layout::kTilesI8, kWholeRow, 32},
    {"int4g32", Layout::kTilesI4, 32, 32},    {"int4g64", Layout::kTilesI4, 64, 64},
    {"int4g128", Layout::kTilesI4, 128, 128},
};

// Null for an unknown name.
const Format* find_format(std::string_view name);

// "fp16, int8, ...": for messages.
std::string_view format_names();

// Bytes of the parts of a rows x cols matrix as a model file stores them: tiles, and FP16 scales
// padded to a multiple of 64 bytes.
size_t weight_bytes(const Format& format, int64_t rows, int64_t cols);
size_t scale_bytes(const Format& format, int64_t rows, int64_t cols);
inline size_t packed_bytes(const Format& format, int64_t rows, int64_t cols) {
  return weight_bytes(format, rows, cols) + scale_bytes(format, rows, cols);
}

// The view of packed parts. scale may be null for formats without scales.
WeightView packed_view(const Format& format, int64_t rows, int64_t cols, const void* qweight,
                       const void* scale);

}  // namespace klens
