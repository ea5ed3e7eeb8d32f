#include "quant/quantizers/search.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <random>

#include "quant/quantizers/pack.h"
#include "quant/quantizers/rtn.h"

namespace klens {
namespace {

constexpr int64_t kSearchRows = 19, kSearchCols = 136;  // neither whole tiles nor whole groups

std::vector<float> normal_values(size_t count, uint32_t seed, float width) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> distribution(0, width);
  std::vector<float> values(count);
  for (float& x : values) x = distribution(rng);
  return values;
}

std::vector<float> uneven_weights() {
  std::vector<float> w = normal_values(kSearchRows * kSearchCols, 5, 0.03f);
  for (size_t i = 0; i < w.size(); i += 97) w[i] *= 6;                      // outliers
  for (size_t c = 0; c < kSearchCols; ++c) w[3 * kSearchCols + c] += 0.2f;  // a row far from zero
  for (size_t c = 0; c < kSearchCols; ++c) w[5 * kSearchCols + c] = 0;
  return w;
}

std::vector<float> importance() {
  std::vector<float> h = normal_values(kSearchCols, 6, 2);
  for (float& x : h) x = std::exp(x);
  h[7] = 0;
  return h;
}

WeightView search_view(const std::vector<float>& w) {
  return {.layout = Layout::kRowsF32, .rows = kSearchRows, .cols = kSearchCols, .data = w.data()};
}

double weighted_error(const PackedWeight& p, const std::vector<float>& w,
                      const std::vector<float>& h) {
  std::vector<float> row(kSearchCols);
  double error = 0;
  for (int64_t r = 0; r < kSearchRows; ++r) {
    expand_row(p.view(), r, row.data());
    for (int64_t c = 0; c < kSearchCols; ++c) {
      const auto at = static_cast<size_t>(c);
      const double d = row[at] - w[static_cast<size_t>(r * kSearchCols) + at];
      error += h[at] * d * d;
    }
  }
  return error;
}

}  // namespace

TEST_CASE("a searched grid loses less than a rounded one", "[search]") {
  const std::vector<float> w = uneven_weights(), h = importance(), same(kSearchCols, 1.0f);
  for (const Format& format : kFormats) {
    CAPTURE(format.name);
    const double rounded = weighted_error(quantize_rtn(format, search_view(w), {}), w, h);
    const PackedWeight weighted = quantize_search(format, search_view(w), {h, nullptr});
    const PackedWeight plain = quantize_search(format, search_view(w), {});
    if (format.group == 0) {
      CHECK(weighted_error(weighted, w, h) == rounded);
      continue;
    }
    // FP16 scales leave a little.
    CHECK(weighted_error(weighted, w, h) < 1.01 * rounded);
    CHECK(weighted_error(weighted, w, h) < weighted_error(plain, w, h));
    CHECK(weighted_error(plain, w, same) <
          1.01 * weighted_error(quantize_rtn(format, search_view(w), {}), w, same));
    if (format.layout == Layout::kTilesI4) CHECK(weighted_error(weighted, w, h) < 0.8 * rounded);
  }
}

TEST_CASE("weights on a grid are found again", "[search]") {
  std::mt19937 rng(3);
  for (const Format& format : kFormats) {
    if (format.group == 0) continue;
    const Levels levels = levels_of(format);
    std::vector<float> w(kSearchRows * kSearchCols);
    for (size_t i = 0; i < w.size(); ++i) {
      const auto span = static_cast<uint32_t>(levels.highest - levels.lowest + 1);
      // All levels occur in every group.
      const uint32_t level = i % 8 == 0 ? 0 : i % 8 == 1 ? span - 1 : rng() % span;
      w[i] = 0.0078125f * static_cast<float>(levels.lowest + static_cast<int32_t>(level)) +
             (format.minimum ? -0.5f : 0);
    }
    CAPTURE(format.name);
    const std::vector<float> same(kSearchCols, 1.0f);
    CHECK(weighted_error(quantize_search(format, search_view(w), {}), w, same) < 1e-9);
    // With few columns that count, almost: under a thousandth of what rounding to such a grid
    // loses.
    double noise = 0;
    for (const float h : importance()) noise += h * kSearchRows * 0.0078125 * 0.0078125 / 12;
    CHECK(weighted_error(quantize_search(format, search_view(w), {importance(), nullptr}), w,
                         importance()) < 1e-3 * noise);
  }
}

TEST_CASE("columns of no importance, or an importance that is no number, do no harm", "[search]") {
  const std::vector<float> w = uneven_weights(), same(kSearchCols, 1.0f);
  for (const Format& format : kFormats) {
    CAPTURE(format.name);
    const double plain = weighted_error(quantize_search(format, search_view(w), {}), w, same);
    for (const float odd : {0.0f, NAN, INFINITY}) {
      const std::vector<float> h(kSearchCols, odd);
      CHECK(weighted_error(quantize_search(format, search_view(w), {h, nullptr}), w, same) ==
            plain);
    }
  }
}

}  // namespace klens
