#pragma once
#include <Eigen/Core>

namespace klens {

// Rows side by side in memory, as kernels want them.
using RowMatrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

// a [n][k] times the transpose of b [m][k], by the machine's best kernel: Eigen, compiled for every
// x86-64, takes five times as long. Of a only the columns from `first` on, as many as b has.
RowMatrix times_transposed(const RowMatrix& a, int64_t first, const RowMatrix& b);

}  // namespace klens
