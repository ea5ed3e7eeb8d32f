#include "engine/device/operation_cases.h"

#include <cstdio>

#include "engine/device/operation_bench.h"

namespace klens {

using namespace cases;

std::string difference(const OperationCase& test, Device& device, Device& reference, double slack) {
  const Values got = test.run(device, false), want = test.run(reference, false);
  const Values magnitudes = test.run(reference, true);
  if (got.size() != want.size() || magnitudes.size() != want.size()) return test.what + ": sizes";
  for (size_t i = 0; i < got.size(); ++i) {
    const double bound = slack * test.bound(want[i], magnitudes[i]);
    if (std::fabs(got[i] - want[i]) <= bound) continue;  // false for NaN
    char text[160];
    std::snprintf(text, sizeof text, ": value %zu is %.9g, not %.9g within %.3g", i, got[i],
                  want[i], bound);
    return test.what + text;
  }
  return "";
}

std::vector<OperationCase> elementwise_cases(const CaseSizes& s) {
  const int64_t tokens = s.tokens, width = s.width;
  std::vector<OperationCase> all;
  const auto add = [&](const char* name, const std::function<double(double, double)>& bound,
                       const auto& body) {
    all.push_back(
        make_case(sizes_of(name, s), s.seed + static_cast<uint32_t>(all.size()), bound, body));
  };
  add("copies and sums", exact, [=](Bench& b) {
    const Rows x = b.rows(tokens, width), y = b.rows(tokens, width), z = b.rows(tokens, width);
    Lane& lane = b.lane();
    lane.copy(x, z);
    b.give(z);
    lane.scale(x, 0.3f, z);
    lane.scale_columns(z, b.table(1, width));
    b.give(z);
    lane.add(x, y, z);
    lane.add_scaled(y, 0.7f, z);
    lane.add_scaled(x, 1, z);
    b.give(z);
    lane.mean(x, y, z);
    b.give(z);
    lane.zero(z);
    b.give(z);
  });
  add("moves", exact, [=](Bench& b) {
    const Rows x = b.rows(tokens, width), y = b.rows(2 * tokens, width);
    std::vector<int64_t> from, to;
    for (int64_t t = 0; t < tokens; ++t) {
      from.push_back(b.below(2 * tokens));
      to.push_back(2 * t + b.below(2));  // no row twice
    }
    const Rows z = b.rows(tokens, width);
    b.lane().gather(y, from, z);
    b.give(z);
    b.lane().scatter_add(x, to, b.numbers(tokens, -1, 1), y);
    b.give(y);
    const int64_t groups = 3;
    const Rows mixed = b.rows(tokens, groups * (width + 3));
    const std::vector<Rows> apart = {b.rows(tokens, groups), b.rows(tokens, groups * width),
                                     b.rows(tokens, groups * 2)};
    b.lane().deinterleave(mixed, groups, apart);
    for (const Rows& one : apart) b.give(one);
  });
  for (const Activation activation : {Activation::kSilu, Activation::kGelu, Activation::kRelu2}) {
    // gelu's error is one of its input, of which magnitudes have half at least.
    add(
        "activation",
        [](double value, double magnitude) {
          return 8 * kEps * (std::fabs(value) + 2 * magnitude) + 1e-35;
        },
        [=](Bench& b) {
          const Rows x = b.rows(tokens, 2 * width, -20, 20), y = b.rows(tokens, width);
          if (activation != Activation::kRelu2) {
            b.lane().activate({activation, true, 0.7f, x, y});
            give_rounded(b, y);
          }
          b.lane().activate({activation, false, 1, x.columns(0, width), y});
          give_rounded(b, y, 2);
        });
  }
  add("squares", exact, [=](Bench& b) {
    Weight weight;
    weight.view.cols = width;
    weight.input_squares = b.table(1, width, 0, 1);
    LinearInput x(b.rows(tokens, width));
    b.lane().look({&weight, 1}, x);
    b.give(weight.input_squares);
  });
  add(
      "products",
      [=](double, double magnitude) {
        return 4 * static_cast<double>(tokens + 4) * kEps * magnitude;
      },
      [=](Bench& b) {
        const Rows sums = b.table(width, width, 0, 1), x = b.rows(tokens, width);
        b.lane().add_products(x, sums, false);
        for (int64_t i = 0; i < width; ++i) b.give(sums.rows(i, 1).columns(0, i + 1));
      });
  return all;
}

std::vector<OperationCase> norm_cases(const CaseSizes& s) {
  const int64_t tokens = s.tokens, part = s.width;
  std::vector<OperationCase> all;
  const auto near = [](double factor) {
    return [factor](double value, double) { return factor * kEps * std::fabs(value) + 1e-36; };
  };
  for (const bool weighted : {false, true})
    all.push_back(make_case(sizes_of("norm", s), s.seed, near(3), [=](Bench& b) {
      const Rows x = b.rows(tokens, 3 * part), y = b.rows(tokens, 3 * part);
      b.lane().norm({x, y, weighted ? b.table(1, part) : Rows(), 1e-5f, 3});
      b.give(y);
      if (weighted) b.lane().norm({x, x, b.table(1, 3 * part), 1e-6f, 3});
      b.give(x);
    }));
  // Of a row as a whole: it may take along what makes its input, and a linear layer it.
  all.push_back(make_case(sizes_of("norm of sums", s), s.seed, near(3), [=](Bench& b) {
    const Rows x = b.rows(tokens, 2 * part), y = b.rows(tokens, 2 * part);
    const Rows more = b.rows(tokens, 2 * part), z = b.rows(tokens, 2 * part);
    const Rows weight = b.table(1, 2 * part);
    Lane& lane = b.lane();
    lane.add_scaled(more, 0.7f, x);
    lane.norm({x, y, weight, 1e-5f});
    give_rounded(b, y);
    b.give(x);
    lane.add(z, more, x);
    lane.norm({x, x, weight, 1e-5f});
    give_rounded(b, x, 2);
    const Rows other = b.rows(tokens, part);
    lane.copy(more.columns(part, part), x.columns(0, part));
    lane.copy(other, x.columns(part, part));
    lane.norm({x, x, weight, 1e-5f});
    give_rounded(b, x);
  }));
  using Order = GatedNormArgs::Order;
  for (const Order order : {Order::kGate, Order::kGateThenNorm, Order::kNormThenGate})
    for (const bool weighted : {false, true})
      // Gate, norm and the product of both: 4 + 3 roundings and the gate's in the norm.
      all.push_back(make_case(sizes_of("gated norm", s), s.seed + 1, near(12), [=](Bench& b) {
        const Rows gate = b.rows(tokens, 2 * part, -4, 4);
        const Rows weight = weighted ? b.table(1, 2 * part) : Rows();
        for (const bool sigmoid : {false, true}) {
          const Rows y = b.rows(tokens, 2 * part);
          b.lane().gated_norm({gate, y, weight, 1e-5f, sigmoid ? 1 : 2, order, sigmoid});
          give_rounded(b, y);
        }
      }));
  return all;
}

std::vector<OperationCase> score_cases(const CaseSizes& s) {
  const auto scored = [=](float apart) {
    return [=](Bench& b) {
      const Rows z = b.rows(s.tokens, s.width, -8, 8),
                 zq = b.rows(s.tokens, s.width, -apart, apart);
      b.lane().add_scaled(z, 1, zq);
      std::vector<PositionScore> scores(static_cast<size_t>(s.tokens));
      b.lane().divergence(z, zq, scores);
      for (const PositionScore& p : scores)
        b.values.insert(b.values.end(), {p.kl, p.kl_reverse, p.squared_error, p.squared});
    };
  };
  const auto near = [](double value, double) { return 1e-5 * std::fabs(value) + 1e-12; };
  return {make_case(sizes_of("divergence", s), s.seed, near, scored(4)),
          make_case(sizes_of("small divergence", s), s.seed, near, scored(1e-3f)),
          make_case(
              sizes_of("log sum exp", s), s.seed, [](double, double) { return 1e-6; },
              [=](Bench& b) {
                Values sums(static_cast<size_t>(s.tokens));
                b.lane().log_sum_exp(b.rows(s.tokens, s.width, -8, 8), sums);
                b.values = sums;
              })};
}

}  // namespace klens
