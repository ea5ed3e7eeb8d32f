#pragma once
#include <functional>
#include <string>
#include <vector>

#include "engine/device/device.h"

namespace klens {

// A device's operation on random numbers: what a device is compared with another by, in tests, and
// where a driver is met for the first time. Devices may lay out states as they like, so a state is
// judged by what later calls make of it.
struct OperationCase {
  std::string what;  // "linear, layout 5, 37 x 70, 5 tokens"
  // All that the operation wrote. With magnitudes: of the absolute values of its inputs.
  std::function<std::vector<double>(Device&, bool magnitudes)> run;
  // How far values may be from those of exact arithmetic: the bound of the kernels' contract, given
  // the value, and that which magnitudes had in its place.
  std::function<double(double value, double magnitude)> bound;
};

// Sizes of a case; any, odd ones too.
struct CaseSizes {
  int64_t tokens, width;
  uint32_t seed;
};

// What moves, joins or changes rows; norms; and so on, by what kernels do them. Weights and caches:
// of that kind.
std::vector<OperationCase> elementwise_cases(const CaseSizes& sizes);
std::vector<OperationCase> norm_cases(const CaseSizes& sizes);
// rounded: with activations of 8 bits, in one plane and in two; else FP32 ones, and the embedding.
std::vector<OperationCase> linear_cases(const CaseSizes& sizes, Layout layout, bool minima,
                                        bool rounded);
std::vector<OperationCase> rope_cases(const CaseSizes& sizes);
std::vector<OperationCase> attention_cases(const CaseSizes& sizes, KvType type);
std::vector<OperationCase> scan_cases(const CaseSizes& sizes);
// Of what devices may scan in chunks, with tokens for several of them; states: also channels of
// keys.
std::vector<OperationCase> chunk_cases(const CaseSizes& sizes, int64_t states);
std::vector<OperationCase> score_cases(const CaseSizes& sizes);

// What is wrong with `device` in a case, as `reference` sees it; "" if nothing is. slack: of
// bounds, 2 where the reference is not exact either.
std::string difference(const OperationCase& test, Device& device, Device& reference, double slack);

}  // namespace klens
