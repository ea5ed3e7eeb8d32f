#include "engine/opencl/self_check.h"

#include <cstdio>

#include "engine/cpu/cpu_device.h"
#include "engine/device/operation_cases.h"

namespace klens {
namespace {

// Odd sizes, with more than one group of columns and of tokens.
std::vector<OperationCase> cases_of(const std::string& family, const std::string& options) {
  if (family == "elementwise") return elementwise_cases({3, 37, 1});
  if (family == "norm") {
    std::vector<OperationCase> all = norm_cases({3, 67, 1});
    for (OperationCase& one : norm_cases({2, 32, 1})) all.push_back(std::move(one));
    return all;  // the latter of whole groups of activations
  }
  if (family == "activations") return linear_cases({3, 70, 1}, Layout::kTilesI8, false, true);
  if (family == "scan") return scan_cases({5, 19, 1});
  if (family == "chunks") return chunk_cases({86, 19, 1}, 69);
  if (family == "scores") return score_cases({2, 300, 1});
  if (int kv = 0; family == "attention") {
    if (std::sscanf(options.c_str(), "-DKV=%d", &kv) != 1) return rope_cases({3, 7, 1});
    std::vector<OperationCase> all = attention_cases({37, 9, 1}, static_cast<KvType>(kv));
    for (OperationCase& one : attention_cases({515, 3, 1}, static_cast<KvType>(kv)))
      all.push_back(std::move(one));  // over the keys of a part
    return all;
  }
  int layout = 0, minima = 0, rounded = 0;
  if (family == "linear" && std::sscanf(options.c_str(), "-DLAYOUT=%d -DMINIMA=%d -DROUNDED=%d",
                                        &layout, &minima, &rounded) == 3)
    return linear_cases({17, 101, 1}, static_cast<Layout>(layout), minima != 0, rounded != 0);
  return {};
}

}  // namespace

std::string self_check(Device& device, const std::string& family, const std::string& options) {
  constexpr double kBothRound = 2;
  CpuDevice reference(1);
  for (const OperationCase& test : cases_of(family, options))
    if (const std::string wrong = difference(test, device, reference, kBothRound); !wrong.empty())
      return wrong;
  return "";
}

}  // namespace klens
