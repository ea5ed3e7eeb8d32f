#include "quant/quantizers/gptq.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <random>

#include "kernels/half.h"
#include "quant/quantizers/search.h"

namespace klens {
namespace {

constexpr int64_t kGptqRows = 83, kGptqCols = 232,
                  kInputs = 700;  // no whole strips, tiles or groups

std::vector<float> normal(int64_t count, uint32_t seed, float width) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> distribution(0, width);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& x : values) x = distribution(rng);
  return values;
}

// Inputs that go together: few directions, of falling size, and a little of everything.
std::vector<float> inputs() {
  constexpr int64_t kDirections = 40;
  const std::vector<float> directions = normal(kDirections * kGptqCols, 1, 1);
  const std::vector<float> amounts = normal(kInputs * kDirections, 2, 1);
  std::vector<float> x = normal(kInputs * kGptqCols, 3, 0.2f);
  for (int64_t t = 0; t < kInputs; ++t)
    for (int64_t d = 0; d < kDirections; ++d)
      for (int64_t c = 0; c < kGptqCols; ++c)
        x[static_cast<size_t>(t * kGptqCols + c)] +=
            amounts[static_cast<size_t>(t * kDirections + d)] *
            directions[static_cast<size_t>(d * kGptqCols + c)] / static_cast<float>(1 + d);
  return x;
}

WeightView gptq_view(const std::vector<float>& w) {
  return {.layout = Layout::kRowsF32, .rows = kGptqRows, .cols = kGptqCols, .data = w.data()};
}

// Sum of squares of what the outputs lose over the inputs.
double lost(const PackedWeight& packed, const std::vector<float>& w, const std::vector<float>& x) {
  std::vector<float> row(kGptqCols);
  double sum = 0;
  for (int64_t r = 0; r < kGptqRows; ++r) {
    expand_row(packed.view(), r, row.data());
    for (int64_t c = 0; c < kGptqCols; ++c)
      row[static_cast<size_t>(c)] -= w[static_cast<size_t>(r * kGptqCols + c)];
    for (int64_t t = 0; t < kInputs; ++t) {
      double error = 0;
      for (int64_t c = 0; c < kGptqCols; ++c)
        error += double{row[static_cast<size_t>(c)]} * x[static_cast<size_t>(t * kGptqCols + c)];
      sum += error * error;
    }
  }
  return sum;
}

// H, not scaled.
std::vector<float> products(const std::vector<float>& x) {
  std::vector<float> h(kGptqCols * kGptqCols);
  for (size_t t = 0; t < kInputs; ++t)
    for (size_t i = 0; i < kGptqCols; ++i)
      for (size_t j = 0; j <= i; ++j)
        h[i * kGptqCols + j] += x[t * kGptqCols + i] * x[t * kGptqCols + j];
  return h;
}

InputStats stats_of(const std::vector<float>& x, std::vector<float>& squares) {
  squares.assign(kGptqCols, 0);
  for (size_t i = 0; i < x.size(); ++i) squares[i % kGptqCols] += x[i] * x[i];
  std::vector<float> h = products(x);
  return {squares, factor_inputs(h, kGptqCols)};
}

}  // namespace

TEST_CASE("the factor of inputs gives back how they go together", "[gptq]") {
  const std::vector<float> x = inputs();
  std::vector<float> products_of_x = products(x);
  const auto factor = factor_inputs(products_of_x, kGptqCols);
  REQUIRE(factor != nullptr);
  double mean = 0;
  for (const float v : x) mean += double{v} * v / kGptqCols;
  const auto u = [&](int64_t k, int64_t i) {
    return k == i ? 1.0 : k > i ? 0.0 : double{bf16_to_f32(factor->row(i)[k])};
  };
  for (int64_t a = 0; a < kGptqCols; a += 17)
    for (int64_t b = 0; b < kGptqCols; b += 13) {
      const size_t col_a = static_cast<size_t>(factor->order[static_cast<size_t>(a)]);
      const size_t col_b = static_cast<size_t>(factor->order[static_cast<size_t>(b)]);
      double h = 0, product = 0;
      for (int64_t t = 0; t < kInputs; ++t)
        h += double{x[static_cast<size_t>(t * kGptqCols) + col_a]} *
             x[static_cast<size_t>(t * kGptqCols) + col_b];
      for (int64_t i = 0; i < kGptqCols; ++i)
        product += u(a, i) * factor->d[static_cast<size_t>(i)] * u(b, i);
      CHECK(product == Approx(a == b ? h / mean + 0.01 : 0.9 * h / mean).margin(1e-2));
    }
}

TEST_CASE("what columns lose is made good by those that follow", "[gptq]") {
  const std::vector<float> x = inputs(), w = normal(kGptqRows * kGptqCols, 4, 0.05f);
  std::vector<float> squares;
  const InputStats stats = stats_of(x, squares);
  for (const Format& format : kFormats) {
    CAPTURE(format.name);
    const double searched = lost(quantize_search(format, gptq_view(w), stats), w, x);
    const double made_good = lost(quantize_gptq(format, gptq_view(w), stats), w, x);
    if (format.group == 0)
      CHECK(made_good == searched);
    else
      CHECK(made_good < 0.35 * searched);
  }
}

TEST_CASE("nothing is made good where inputs are unknown, zero or not finite", "[gptq]") {
  const std::vector<float> w = normal(kGptqRows * kGptqCols, 5, 0.05f);
  for (const float odd : {0.0f, NAN, INFINITY}) {
    std::vector<float> h(kGptqCols * kGptqCols, odd);
    CHECK(factor_inputs(h, kGptqCols) == nullptr);
  }
  for (const Format& format : kFormats) {
    CAPTURE(format.name);
    const PackedWeight a = quantize_gptq(format, gptq_view(w), {});
    const PackedWeight b = quantize_search(format, gptq_view(w), {});
    CHECK(std::memcmp(a.qweight.data(), b.qweight.data(), a.qweight.size()) == 0);
  }
}

}  // namespace klens
