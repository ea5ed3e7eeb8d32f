#include "quant/shortlist.h"

#include <catch2/catch.hpp>

#include "quant/output_error.h"
#include "quant/quantizers/search.h"

namespace klens {
namespace {

using Kept = std::vector<size_t>;

}  // namespace

TEST_CASE("a shortlist has no format that another beats", "[shortlist]") {
  const std::vector<Option> options = {{80, 1e-5}, {80, 1e-6}, {60, 1e-5}, {50, 1e-4},
                                       {55, 1e-4}, {40, 2e-3}, {40, 2e-3}};
  CHECK(shortlist(options, 9) == Kept{1, 2, 3, 5});
  CHECK(shortlist({}, 2).empty());
  CHECK(shortlist({{{8, 0.0}}}, 2) == Kept{0});
}

TEST_CASE("a shortlist keeps its ends and what lies below a line between the others",
          "[shortlist]") {
  // On a line of logarithms but for the third, which is better, and the fourth, which is worse.
  const std::vector<Option> options = {{80, 1e-8}, {70, 1e-7}, {60, 1e-7 / 2},
                                       {50, 4e-5}, {40, 1e-4}, {30, 1e-3}};
  CHECK(shortlist(options, 5) == Kept{0, 2, 3, 4, 5});
  CHECK(shortlist(options, 4) == Kept{0, 2, 4, 5});
  CHECK(shortlist(options, 2) == Kept{0, 5});
}

TEST_CASE("what outputs lose is told by inputs", "[shortlist]") {
  // Two columns that always cancel lose nothing by errors that are alike.
  constexpr int64_t kCols = 64, kRows = 3;
  std::vector<float> w(kRows * kCols, 0.5f), h(kCols * kCols);
  for (size_t i = 0; i < kCols; ++i) h[i * kCols + i] = 1;
  h[1 * kCols + 0] = -1;
  const WeightView source{
      .layout = Layout::kRowsF32, .rows = kRows, .cols = kCols, .data = w.data()};
  std::vector<float> moved = w;
  for (size_t r = 0; r < kRows; ++r) moved[r * kCols] = moved[r * kCols + 1] = 0.25f;
  WeightView other = source;
  other.data = moved.data();
  const PackedWeight packed = quantize_search(*find_format("fp16"), other, {});
  const InputStats together{{}, factor_inputs(h, kCols)};
  const InputStats unknown;
  const double apart = OutputError(source, unknown).of(packed);
  CHECK(apart == Approx(2 * 0.0625 / (kCols * 0.25)));
  // As far as that is believed: a tenth counts as if they were independent.
  CHECK(OutputError(source, together).of(packed) == Approx(0.1 * apart).epsilon(0.15));
  // The same by squares alone: those columns count for nothing, or for all.
  std::vector<float> squares(kCols, 1.0f);
  squares[0] = squares[1] = 0;
  const InputStats alone{squares, nullptr};
  CHECK(OutputError(source, alone).of(packed) == 0);
  std::vector<float> zeros(w.size());
  other.data = zeros.data();
  const PackedWeight nothing = quantize_search(*find_format("int4g32"), other, unknown);
  CHECK(OutputError(other, unknown).of(nothing) == 0);
}

}  // namespace klens
