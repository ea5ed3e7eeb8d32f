#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace klens {

struct KnapsackOption {
  double cost = 0, weight = 0;  // any finite numbers, negative too
};

struct KnapsackSolution {
  std::vector<size_t> choice;   // per item, an index into its options
  double cost = 0, weight = 0;  // sums over the items, in their order
  double gap = 0;               // proven: no solution costs less than cost - gap
};

// Total labels before the search starts to drop some and the gap may become positive: about 100 MB.
inline constexpr size_t kMaxKnapsackLabels = size_t{1} << 22;

// The multiple-choice knapsack: one option of every item, the least summed cost with a summed
// weight of at most `capacity`; of equal costs the least weight. None if even the lightest options
// do not fit. Every item has an option. Deterministic. "Equal" and "proven" are meant up to the
// rounding of sums of doubles, 1e-13 of the range of possible costs.
std::optional<KnapsackSolution> solve_knapsack(
    const std::vector<std::vector<KnapsackOption>>& items, double capacity,
    size_t max_labels = kMaxKnapsackLabels);

}  // namespace klens
