#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace klens {

// How the columns of a unit's inputs x go together, H = E[x x^T], in the form in which GPTQ uses
// it. With the columns in `order`,
//   H = (I + U) diag(d) (I + U)^T, U strictly upper triangular,
// so that a matrix's error e of one output costs sum over i of d_i (e_i + sum over k < i of e_k
// U_ki)^2: what columns before i lost can be made good at i.
struct InputFactor {
  std::vector<int32_t> order;      // [cols]: a column of the matrix for each place
  std::vector<uint16_t> feedback;  // BF16: U_ki of all k < i, then those of i + 1
  std::vector<float> d;            // [cols], positive

  // U_ki for k < i.
  const uint16_t* row(int64_t i) const { return feedback.data() + i * (i - 1) / 2; }
};

// From H times any factor [cols][cols], whose lower triangle counts; what it holds is lost. Damped
// by a hundredth of the mean of the diagonal, as in the paper (arXiv 2210.17323), and, as some
// thousand tokens tell less of how columns go together than of their own size, shrunk: what is off
// the diagonal counts nine tenths (bench/RESULTS.md, "GPTQ"; the idea is Ledoit and Wolf's, 2004).
// Columns that matter most come first, but those of a group stay together, whatever power of two
// from 16 to 128 it has. Null where H is zero, or not finite.
std::shared_ptr<const InputFactor> factor_inputs(std::span<float> h, int64_t cols);

// What the columns of a unit were multiplied by, as far as was seen.
struct InputStats {
  std::span<const float> squares;             // [cols] sums of squares; empty: unknown, all alike
  std::shared_ptr<const InputFactor> factor;  // null: unknown, as if columns were independent
};

}  // namespace klens
