#include "kernels/cpu/elementwise/gated.h"

#include "tests/kernels/testing.h"

namespace klens::cpu {
namespace {

using namespace klens::testing;

struct Function {
  const char* name;
  std::span<const Variant<Gated>> (*table)();
  double (*act)(double);
  bool gelu;
  // As gated.h promises.
  double bound(double v, double up) const {
    if (gelu) return 8 * kEps * std::fabs(v * up);
    return 4 * kEps * std::fabs(act(v) * up) + 1e-36 * std::fabs(up);
  }
};

const Function kFunctions[] = {
    {"silu", gated_silu_variants, [](double v) { return v / (1 + std::exp(-v)); }, false},
    {"gelu", gated_gelu_variants, [](double v) { return v / 2 * (1 + std::erf(v / std::sqrt(2))); },
     true},
    {"sigmoid", gated_sigmoid_variants, [](double v) { return 1 / (1 + std::exp(-v)); }, false},
};

struct Case {
  int64_t tokens, cols, gate_stride, up_stride, y_stride;
  float scale;
  Buffer<float> gate, up, untouched;

  Case(int64_t t, int64_t c, float s, Rng& rng)
      : tokens(t),
        cols(c),
        gate_stride(c + 3),
        up_stride(c + 5),
        y_stride(c + 2),
        scale(s),
        gate(strided(t, c, gate_stride), 1),
        up(strided(t, c, up_stride), 2),
        untouched(strided(t, c, y_stride), 3) {
    fill_uniform(gate, rng, -9, 9);
    fill_uniform(up, rng, -3, 3);
    for (int64_t i = 0; i < gate.size(); i += 7) gate[i] *= 10;
    untouched.fill(kPoison);
  }

  GatedArgs args(float* y, int64_t stride) const {
    return {gate.data(), gate_stride, scale, up.data(), up_stride, y, stride, tokens, cols};
  }
};

void run_case(const Function& f, const Variant<Gated>& v, const Case& k) {
  INFO(f.name << " tokens " << k.tokens << " cols " << k.cols << " scale " << k.scale);
  const Buffer<float> got = k.untouched, want = k.untouched;
  v.run(k.args(got.data(), k.y_stride));
  specification(f.table()).run(k.args(want.data(), k.y_stride));
  // In place of either input.
  Buffer<float> gate = k.gate, up = k.up;
  GatedArgs over_gate = k.args(gate.data(), k.gate_stride);
  over_gate.gate = gate.data();
  v.run(over_gate);
  GatedArgs over_up = k.args(up.data(), k.up_stride);
  over_up.up = up.data();
  v.run(over_up);
  Mismatches bad;
  for (int64_t i = 0; i < got.size(); ++i) {
    const int64_t t = i / k.y_stride, c = i % k.y_stride;
    if (c >= k.cols) {
      bad.check(poisoned(got[i]), "wrote between rows");
      continue;
    }
    const float gated = k.scale * k.gate[t * k.gate_stride + c];
    const double with = k.up[t * k.up_stride + c], exact = f.act(gated) * with;
    bad.near(got[i], want[i], f.bound(gated, with), at(t, c));
    bad.near(want[i], exact, f.bound(gated, with), "specification" + at(t, c));
    bad.check(gate[t * k.gate_stride + c] == got[i], "in place of gate");
    bad.check(up[t * k.up_stride + c] == got[i], "in place of up");
  }
}

TEST_CASE("gated: shapes, strides, scales, in place", "[gated]") {
  for (const Function& f : kFunctions)
    for_each_variant(f.table(), [&](const Variant<Gated>& v) {
      Rng rng(1);
      for (const int64_t cols : {1, 2, 7, 8, 9, 15, 16, 17, 33, 100, 1000})
        for (const int64_t tokens : {0, 1, 2, 5})
          for (const float scale : {1.0f, 0.3f}) run_case(f, v, Case(tokens, cols, scale, rng));
    });
}

TEST_CASE("gated: NaN in either stays NaN", "[gated]") {
  for (const Function& f : kFunctions)
    for_each_variant(f.table(), [&](const Variant<Gated>& v) {
      const float x[] = {NAN, 1}, up[] = {1, NAN};
      float y[2];
      v.run({x, 2, 1, up, 2, y, 2, 1, 2});
      CHECK(std::isnan(y[0]));
      CHECK(std::isnan(y[1]));
    });
}

}  // namespace
}  // namespace klens::cpu
