#include "quant/cholesky.h"

#include <Eigen/Cholesky>
#include <algorithm>

namespace klens {

bool cholesky_in_place(RowMatrix& a) {
  constexpr int64_t kBlock = 128;
  const int64_t n = a.rows();
  for (int64_t at = 0; at < n; at += kBlock) {
    const int64_t size = std::min(kBlock, n - at), after = at + size;
    if (at > 0) {
      const RowMatrix known = a.block(at, 0, size, at);
      a.block(at, at, n - at, size) -= times_transposed(a.block(at, 0, n - at, at), known);
    }
    const Eigen::LLT<RowMatrix, Eigen::Lower> corner(a.block(at, at, size, size));
    if (corner.info() != Eigen::Success || !corner.matrixLLT().diagonal().allFinite()) return false;
    a.block(at, at, size, size) = corner.matrixL();
    if (after == n) break;
    const RowMatrix inverse = corner.matrixL().solve(RowMatrix::Identity(size, size));
    const RowMatrix below = a.block(after, at, n - after, size);
    a.block(after, at, n - after, size) = times_transposed(below, inverse);
  }
  return true;
}

}  // namespace klens
