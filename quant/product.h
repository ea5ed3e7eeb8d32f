#pragma once
#include <Eigen/Core>

namespace klens {

// Rows side by side in memory, as kernels want them.
using RowMatrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

// Some rows and columns of a matrix.
using RowBlock = Eigen::Ref<const RowMatrix, 0, Eigen::OuterStride<>>;

// a [n][k] times the transpose of b [m][k], by the machine's best kernel: Eigen, compiled for every
// x86-64, takes five times as long.
RowMatrix times_transposed(const RowBlock& a, const RowMatrix& b);

}  // namespace klens
