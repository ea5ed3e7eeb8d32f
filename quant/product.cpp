#include "quant/product.h"

#include "kernels/cpu/linear/linear_f32.h"

namespace klens {

RowMatrix times_transposed(const RowBlock& a, const RowMatrix& b) {
  RowMatrix y(a.rows(), b.rows());
  if (b.cols() == 0) return RowMatrix::Zero(a.rows(), b.rows());
  const WeightView view{
      .layout = Layout::kRowsF32, .rows = b.rows(), .cols = b.cols(), .data = b.data()};
  cpu::best_variant(cpu::linear_f32_variants(), cpu::active())
      .run({.w = view,
            .x = a.data(),
            .x_stride = a.outerStride(),
            .y = y.data(),
            .y_stride = y.cols(),
            .tokens = a.rows(),
            .tile_begin = 0,
            .tile_end = view.row_tiles()});
  return y;
}

}  // namespace klens
