#include "quant/quantizers/hqq.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <random>

#include "quant/quantizers/rtn.h"

namespace klens {
namespace {

constexpr int64_t kHqqRows = 19, kHqqCols = 136;  // neither whole tiles nor whole groups

// With heavy tails, as weights have.
std::vector<float> heavy_weights() {
  std::mt19937 rng(8);
  std::student_t_distribution<float> distribution(3);
  std::vector<float> w(static_cast<size_t>(kHqqRows * kHqqCols));
  for (float& x : w) x = 0.02f * distribution(rng);
  for (size_t c = 0; c < kHqqCols; ++c) w[5 * kHqqCols + c] = 0.25f;  // a row of one number
  return w;
}

WeightView hqq_view(const std::vector<float>& w) {
  return {.layout = Layout::kRowsF32, .rows = kHqqRows, .cols = kHqqCols, .data = w.data()};
}

// sum |w - w'|^0.7: what HQQ makes small.
double hqq_error(const PackedWeight& p, const std::vector<float>& w) {
  std::vector<float> row(kHqqCols);
  double error = 0;
  for (int64_t r = 0; r < kHqqRows; ++r) {
    expand_row(p.view(), r, row.data());
    for (int64_t c = 0; c < kHqqCols; ++c)
      error += std::pow(
          std::fabs(double{row[static_cast<size_t>(c)]} - w[static_cast<size_t>(r * kHqqCols + c)]),
          0.7);
  }
  return error;
}

}  // namespace

TEST_CASE("hqq's minima leave less of its norm than rounding to nearest does", "[hqq]") {
  const std::vector<float> w = heavy_weights();
  for (const Format& format : kFormats) {
    if (!format.minimum) continue;
    CAPTURE(format.name);
    const double rounded = hqq_error(quantize_rtn(format, hqq_view(w), {}), w);
    CHECK(hqq_error(quantize_hqq(format, hqq_view(w), {}), w) < 0.99 * rounded);
  }
}

TEST_CASE("hqq rounds formats without minima to nearest", "[hqq]") {
  const std::vector<float> w = heavy_weights();
  for (const Format& format : kFormats) {
    if (format.minimum) continue;
    const PackedWeight a = quantize_hqq(format, hqq_view(w), {}),
                       b = quantize_rtn(format, hqq_view(w), {});
    CAPTURE(format.name);
    CHECK(a.qweight.size() == b.qweight.size());
    CHECK(std::equal(a.qweight.data(), a.qweight.data() + a.qweight.size(), b.qweight.data()));
  }
}

TEST_CASE("hqq finds the minimum that the paper's own code finds", "[hqq]") {
  // One group of int4ag32, by optimize_weights_proximal of the authors' package in float64.
  std::vector<float> w(32);
  for (size_t i = 0; i < w.size(); ++i) w[i] = 0.01f * static_cast<float>((i * 7) % 13) - 0.05f;
  w[3] = 0.31f;
  const PackedWeight packed =
      quantize_hqq(*find_format("int4ag32"),
                   {.layout = Layout::kRowsF32, .rows = 1, .cols = 32, .data = w.data()}, {});
  std::vector<float> row(32);
  expand_row(packed.view(), 0, row.data());
  CHECK(row[0] == Approx(-0.0493125).epsilon(2e-3));
}

}  // namespace klens
