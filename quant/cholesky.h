#pragma once
#include "quant/product.h"

namespace klens {

// L with L L^T = a [n][n], of which the lower triangle counts, and holds L afterwards; what is
// above it is lost. By blocks of columns whose products the machine's best kernel makes: Eigen,
// compiled for every x86-64, takes four times as long. False where `a` is not positive
// definite, or not finite.
bool cholesky_in_place(RowMatrix& a);

}  // namespace klens
