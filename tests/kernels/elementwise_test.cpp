#include "kernels/cpu/elementwise/elementwise.h"

#include "tests/kernels/testing.h"

namespace klens::cpu {
namespace {

using namespace klens::testing;

using Table = std::span<const Variant<Elementwise>>;

float apply(const Variant<Elementwise>& v, float x) {
  float y = kPoison;
  v.run({&x, 1, &y, 1, nullptr, 1, 1});
  return y;
}

double exact_exp(double v) { return std::exp(v); }
double exact_silu(double v) { return v / (1 + std::exp(-v)); }
double exact_softplus(double v) { return v > 20 ? v : std::log1p(std::exp(v)); }
double exact_gelu(double v) { return v / 2 * std::erfc(-v / std::sqrt(2)); }
double exact_relu2(double v) { return v <= 0 ? 0 : v * v; }

struct Function {
  const char* name;
  Table (*table)();
  double (*exact)(double);
  double relative, absolute, of_input;  // as elementwise.h promises

  double bound(double v) const {
    return kEps * (relative * std::fabs(exact(v)) + of_input * std::fabs(v));
  }
};

const Function kFunctions[] = {
    {"exp", exp_variants, exact_exp, 1, 0, 0},
    {"silu", silu_variants, exact_silu, 2, 1e-36, 0},
    {"softplus", softplus_variants, exact_softplus, 2, 1e-37, 0},
    {"gelu", gelu_variants, exact_gelu, 0, 1e-37, 8},
    {"relu2", relu2_variants, exact_relu2, 0.5, 1e-45, 0},
};

// Every 9973rd binary32 number between -104 and 104.
TEST_CASE("elementwise: errors over the whole range", "[elementwise]") {
  std::vector<float> x;
  for (uint32_t bits = 0; bits < std::bit_cast<uint32_t>(104.0f); bits += 9973) {
    x.push_back(std::bit_cast<float>(bits));
    x.push_back(-x.back());
  }
  // The neighbourhoods of both ends of exp, densely.
  for (const float end : {-87.3365448f, 88.7228391f})
    for (int32_t i = -2000; i <= 2000; ++i)
      x.push_back(std::bit_cast<float>(std::bit_cast<int32_t>(end) + i));
  const auto count = static_cast<int64_t>(x.size());
  std::vector<float> y(x.size());
  for (const Function& f : kFunctions) {
    INFO(f.name);
    for_each_variant(f.table(), [&](const Variant<Elementwise>& v) {
      v.run({x.data(), count, y.data(), count, nullptr, 1, count});
      Mismatches bad;
      double worst = 0;
      for (size_t i = 0; i < x.size(); ++i) {
        const double want = f.exact(x[i]);
        if (want > double{FLT_MAX}) {
          bad.check(std::isinf(y[i]) || y[i] > 3.4e38f, "no overflow at " + std::to_string(x[i]));
          continue;
        }
        if (f.exact == exact_exp && want > 3.402e38 && std::isinf(y[i])) continue;  // the last step
        const double error = std::fabs(double{y[i]} - want);
        // exp: 0 or anything up to the least normal number where the result is not normal.
        const double absolute = f.exact == exact_exp ? double{FLT_MIN} : f.absolute;
        bad.near(y[i], want, f.bound(x[i]) + absolute, "at " + std::to_string(x[i]));
        if (std::fabs(want) > (f.of_input > 0 ? 1e-3 : 1e-30))
          worst = std::max(worst, error / std::fabs(want) / kEps);
      }
      std::printf("%s %s: relative error at most %.2f eps\n", f.name, v.name, worst);
    });
  }
}

TEST_CASE("elementwise: exp is 0 where the result is below the normal numbers", "[elementwise]") {
  for_each_variant(exp_variants(), [](const Variant<Elementwise>& v) {
    for (const float x : {-87.34f, -90.0f, -104.0f, -1e10f, -INFINITY})
      CHECK(apply(v, x) <= FLT_MIN);
    CHECK(apply(v, -INFINITY) == 0);
    CHECK(apply(v, 0.0f) == 1);
    CHECK(apply(v, -0.0f) == 1);
    CHECK(apply(v, 88.73f) == INFINITY);
    CHECK(apply(v, INFINITY) == INFINITY);
    CHECK(apply(v, 1e30f) == INFINITY);
  });
}

TEST_CASE("elementwise: gelu and relu2 at the ends", "[elementwise]") {
  for_each_variant(gelu_variants(), [](const Variant<Elementwise>& v) {
    CHECK(apply(v, INFINITY) == INFINITY);
    CHECK(apply(v, 1e30f) == 1e30f);
    CHECK(std::fabs(apply(v, -1e30f)) == 0);
    CHECK(apply(v, 0.0f) == 0);
  });
  for_each_variant(relu2_variants(), [](const Variant<Elementwise>& v) {
    CHECK(apply(v, INFINITY) == INFINITY);
    CHECK(apply(v, -INFINITY) == 0);
    CHECK(apply(v, -3.0f) == 0);
    CHECK(apply(v, 3.0f) == 9);
  });
}

TEST_CASE("elementwise: NaN stays NaN, whatever its bits", "[elementwise]") {
  for (const Function& f : kFunctions)
    for_each_variant(f.table(), [&](const Variant<Elementwise>& v) {
      for (uint32_t payload = 1; payload < 1u << 22; payload += 4099) {
        CHECK(std::isnan(apply(v, std::bit_cast<float>(0x7fc00000u | payload))));
        CHECK(std::isnan(apply(v, std::bit_cast<float>(0xffc00000u | payload))));
      }
    });
}

TEST_CASE("elementwise: shapes, strides, bias, in place", "[elementwise]") {
  for (const Function& f : kFunctions) {
    INFO(f.name);
    for_each_variant(f.table(), [&](const Variant<Elementwise>& v) {
      Rng rng(1);
      for (const int64_t cols : {1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 47, 80, 100})
        for (const int64_t tokens : {0, 1, 2, 3, 7}) {
          const int64_t x_stride = cols + 3, y_stride = cols + 5;
          Buffer<float> x(strided(tokens, cols, x_stride), 1), bias(cols, 3);
          Buffer<float> y(strided(tokens, cols, y_stride), 2);
          fill_uniform(x, rng, -8, 8);
          fill_uniform(bias, rng, -1, 1);
          for (const float* b :
               {static_cast<const float*>(nullptr), const_cast<const float*>(bias.data())}) {
            y.fill(kPoison);
            v.run({x.data(), x_stride, y.data(), y_stride, b, tokens, cols});
            Mismatches bad;
            for (int64_t i = 0; i < y.size(); ++i) {
              const int64_t t = i / y_stride, c = i % y_stride;
              if (c >= cols) {
                bad.check(poisoned(y[i]), "wrote between rows");
                continue;
              }
              const float in = x[t * x_stride + c] + (b == nullptr ? 0.0f : b[c]);
              const double want = f.exact(in);
              bad.near(y[i], want, f.bound(in), "element");
              bad.check(y[i] == apply(v, in), "an element depends on its neighbours");
            }
          }
          Buffer<float> in_place = x;
          v.run({in_place.data(), x_stride, in_place.data(), x_stride, bias.data(), tokens, cols});
          Mismatches bad;
          for (int64_t t = 0; t < tokens; ++t)
            for (int64_t c = 0; c < cols; ++c)
              bad.check(in_place[t * x_stride + c] == y[t * y_stride + c], "in place");
        }
    });
  }
}

}  // namespace
}  // namespace klens::cpu
