#include "quant/output_error.h"

#include <algorithm>

#include "kernels/half.h"
#include "quant/product.h"

namespace klens {
namespace {

// sum over rows e of E[(e x)^2].
double spread(const RowMatrix& errors, const InputFactor& factor) {
  constexpr int64_t kBlock = 32;
  const int64_t cols = errors.cols();
  double sum = 0;
  for (int64_t at = 0; at < cols; at += kBlock) {
    const int64_t size = std::min(kBlock, cols - at);
    RowMatrix handed_on = RowMatrix::Zero(size, at + size);
    for (int64_t i = 0; i < size; ++i) {
      for (int64_t k = 0; k < at + i; ++k) handed_on(i, k) = bf16_to_f32(factor.row(at + i)[k]);
      handed_on(i, at + i) = 1;
    }
    const RowMatrix left = times_transposed(errors, 0, handed_on);
    for (int64_t i = 0; i < size; ++i)
      sum += double{factor.d[static_cast<size_t>(at + i)]} * left.col(i).squaredNorm();
  }
  return sum;
}

double spread(const RowMatrix& errors, std::span<const float> squares) {
  double sum = 0;
  for (int64_t c = 0; c < errors.cols(); ++c)
    sum += (squares.empty() ? 1.0 : double{squares[static_cast<size_t>(c)]}) *
           errors.col(c).squaredNorm();
  return sum;
}

double spread(const RowMatrix& rows, const InputStats& inputs) {
  return inputs.factor == nullptr ? spread(rows, inputs.squares) : spread(rows, *inputs.factor);
}

// The column at place i of what spread() takes.
int64_t column_at(int64_t i, const InputStats& inputs) {
  return inputs.factor == nullptr ? i : inputs.factor->order[static_cast<size_t>(i)];
}

// Rows of a matrix with their columns in that order.
RowMatrix ordered(const WeightView& view, const InputStats& inputs) {
  RowMatrix rows(view.rows, view.cols);
  std::vector<float> row(static_cast<size_t>(view.cols));
  for (int64_t r = 0; r < view.rows; ++r) {
    expand_row(view, r, row.data());
    for (int64_t i = 0; i < view.cols; ++i)
      rows(r, i) = row[static_cast<size_t>(column_at(i, inputs))];
  }
  return rows;
}

}  // namespace

double output_error(const PackedWeight& packed, const WeightView& source,
                    const InputStats& inputs) {
  const RowMatrix was = ordered(source, inputs);
  const RowMatrix lost = was - ordered(packed.view(), inputs);
  const double whole = spread(was, inputs);
  return whole > 0 ? spread(lost, inputs) / whole : 0;
}

}  // namespace klens
