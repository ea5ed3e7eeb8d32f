#include "quant/input_stats.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/half.h"
#include "quant/cholesky.h"

namespace klens {
namespace {

constexpr float kDamping = 0.01f;
constexpr float kShrinkage = 0.1f;
constexpr size_t kLeastGroup = 16;

// Sorts pieces of `size` columns by what they matter in all, largest first. The last piece, if it
// is no whole one, stays the last.
void sort_pieces(std::span<const double> matters, size_t size, std::vector<int32_t>& columns) {
  const size_t whole = columns.size() / size;
  std::vector<std::pair<double, size_t>> pieces(whole);
  for (size_t p = 0; p < whole; ++p) {
    pieces[p].second = p;
    for (size_t i = 0; i < size; ++i)
      pieces[p].first += matters[static_cast<size_t>(columns[p * size + i])];
  }
  std::stable_sort(pieces.begin(), pieces.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  std::vector<int32_t> sorted;
  for (const auto& piece : pieces)
    for (size_t i = 0; i < size; ++i) sorted.push_back(columns[piece.second * size + i]);
  std::ranges::copy(sorted, columns.begin());
}

// Largest first, by pieces within pieces.
std::vector<int32_t> order_of(std::span<const double> matters) {
  std::vector<int32_t> order(matters.size());
  std::iota(order.begin(), order.end(), 0);
  sort_pieces(matters, 128, order);
  for (const size_t size : {size_t{64}, size_t{32}, kLeastGroup, size_t{1}}) {
    const size_t piece = size == 1 ? kLeastGroup : 2 * size;
    for (size_t at = 0; at < order.size(); at += piece) {
      std::vector<int32_t> part(
          order.begin() + static_cast<std::ptrdiff_t>(at),
          order.begin() + static_cast<std::ptrdiff_t>(std::min(at + piece, order.size())));
      sort_pieces(matters, size, part);
      std::ranges::copy(part, order.begin() + static_cast<std::ptrdiff_t>(at));
    }
  }
  return order;
}

}  // namespace

std::shared_ptr<const InputFactor> factor_inputs(std::span<float> h, int64_t cols) {
  const Eigen::Map<const RowMatrix> lower(h.data(), cols, cols);
  std::vector<double> diagonal(static_cast<size_t>(cols));
  double mean = 0;
  for (int64_t i = 0; i < cols; ++i)
    mean += (diagonal[static_cast<size_t>(i)] = lower(i, i)) / static_cast<double>(cols);
  if (!(mean > 0) || !std::isfinite(mean)) return nullptr;

  InputFactor factor{.order = order_of(diagonal), .feedback = {}, .d = {}};
  // Backwards and scaled, so that the lower factor that libraries give is the upper one asked for.
  RowMatrix backwards(cols, cols);
  const auto scale = static_cast<float>(1 / mean);
  for (int64_t i = 0; i < cols; ++i)
    for (int64_t k = i; k < cols; ++k) {
      const auto [low, high] =
          std::minmax(factor.order[static_cast<size_t>(i)], factor.order[static_cast<size_t>(k)]);
      backwards(cols - 1 - i, cols - 1 - k) =
          scale * lower(high, low) * (i == k ? 1 : 1 - kShrinkage);
    }
  backwards.diagonal().array() += kDamping;
  if (!cholesky_in_place(backwards)) return nullptr;
  // With L the factor, I + U has L(n-1-k, n-1-i) / L(n-1-i, n-1-i) at (k, i).
  factor.feedback.reserve(static_cast<size_t>(cols * (cols - 1) / 2));
  for (int64_t i = 0; i < cols; ++i) {
    const int64_t column = cols - 1 - i;
    const float root = backwards(column, column);
    factor.d.push_back(root * root);
    for (int64_t k = 0; k < i; ++k)
      factor.feedback.push_back(f32_to_bf16(backwards(cols - 1 - k, column) / root));
  }
  return std::make_shared<InputFactor>(std::move(factor));
}

}  // namespace klens
