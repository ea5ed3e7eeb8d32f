#include "quant/output_error.h"

#include <tbb/parallel_for.h>

#include <algorithm>
#include <numeric>
#include <vector>

#include "kernels/half.h"
#include "quant/product.h"

namespace klens {
namespace {

// sum over rows e of E[(e x)^2], by blocks of columns.
double spread(const RowBlock& errors, const InputFactor& factor) {
  constexpr int64_t kBlock = 64;
  const int64_t cols = errors.cols();
  std::vector<double> sums(static_cast<size_t>((cols + kBlock - 1) / kBlock));
  tbb::parallel_for(size_t{0}, sums.size(), [&](size_t block) {
    const int64_t at = static_cast<int64_t>(block) * kBlock, size = std::min(kBlock, cols - at);
    RowMatrix handed_on = RowMatrix::Zero(size, at + size);
    for (int64_t i = 0; i < size; ++i) {
      for (int64_t k = 0; k < at + i; ++k) handed_on(i, k) = bf16_to_f32(factor.row(at + i)[k]);
      handed_on(i, at + i) = 1;
    }
    const RowMatrix left = times_transposed(errors.leftCols(at + size), handed_on);
    for (int64_t i = 0; i < size; ++i)
      sums[block] += double{factor.d[static_cast<size_t>(at + i)]} * left.col(i).squaredNorm();
  });
  return std::accumulate(sums.begin(), sums.end(), 0.0);
}

double spread(const RowBlock& errors, std::span<const float> squares) {
  double sum = 0;
  for (int64_t c = 0; c < errors.cols(); ++c)
    sum += (squares.empty() ? 1.0 : double{squares[static_cast<size_t>(c)]}) *
           errors.col(c).squaredNorm();
  return sum;
}

double spread(const RowBlock& rows, const InputStats& inputs) {
  return inputs.factor == nullptr ? spread(rows, inputs.squares) : spread(rows, *inputs.factor);
}

// The column at place i of what spread() takes.
int64_t column_at(int64_t i, const InputStats& inputs) {
  return inputs.factor == nullptr ? i : inputs.factor->order[static_cast<size_t>(i)];
}

// Rows of a matrix with their columns in that order.
std::vector<float> ordered(const WeightView& view, const InputStats& inputs) {
  std::vector<float> rows(static_cast<size_t>(view.rows * view.cols));
  std::vector<float> row(static_cast<size_t>(view.cols));
  for (int64_t r = 0; r < view.rows; ++r) {
    expand_row(view, r, row.data());
    for (int64_t i = 0; i < view.cols; ++i)
      rows[static_cast<size_t>(r * view.cols + i)] = row[static_cast<size_t>(column_at(i, inputs))];
  }
  return rows;
}

Eigen::Map<const RowMatrix> matrix(const std::vector<float>& rows, int64_t cols) {
  return {rows.data(), static_cast<int64_t>(rows.size()) / cols, cols};
}

}  // namespace

OutputError::OutputError(const WeightView& source, const InputStats& inputs)
    : inputs_(inputs),
      cols_(source.cols),
      source_(ordered(source, inputs)),
      whole_(spread(matrix(source_, cols_), inputs)) {}

double OutputError::of(const PackedWeight& packed) const {
  if (!(whole_ > 0)) return 0;
  const std::vector<float> now = ordered(packed.view(), inputs_);
  const RowMatrix lost = matrix(source_, cols_) - matrix(now, cols_);
  return spread(lost, inputs_) / whole_;
}

}  // namespace klens
