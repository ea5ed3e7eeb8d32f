#include "kernels/cpu/activations/quantize_activations.h"

#include "tests/kernels/testing.h"

namespace klens::cpu {
namespace {

using namespace klens::testing;

struct Result {
  Buffer<int8_t> q;
  Buffer<float> scale;
  Buffer<int32_t> sum;
};

Result quantize(const Variant<QuantizeActivations>& v, const Buffer<float>& x, int64_t x_stride,
                int64_t tokens, int64_t cols, int64_t group, int64_t step) {
  const int64_t padded = (cols + 31) / 32 * 32, q_stride = padded + 32;
  const int64_t steps = (cols + step - 1) / step;
  Result r{Buffer<int8_t>(strided(tokens, padded, q_stride), 1), Buffer<float>(tokens * steps, 1),
           Buffer<int32_t>(tokens * steps, 1)};
  r.q.fill(99);
  v.run({x.data(), x_stride, tokens, cols, group, step, r.q.data(), q_stride, r.scale.data(),
         r.sum.data()});
  return r;
}

// The definition in the header, step by step.
void check_definition(const Result& r, const Buffer<float>& x, int64_t x_stride, int64_t tokens,
                      int64_t cols, int64_t group, int64_t step) {
  const int64_t padded = (cols + 31) / 32 * 32, q_stride = padded + 32;
  const int64_t steps = (cols + step - 1) / step;
  Mismatches bad;
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t i = 0; i < steps; ++i) {
      float max = 0;
      int32_t sum = 0;
      const int64_t first = i * step / group * group, last = std::min(cols, first + group);
      for (int64_t k = first; k < last; ++k) max = std::max(max, std::fabs(x[t * x_stride + k]));
      const bool zero = max < kQuantizeActivationsFloor;
      for (int64_t k = i * step; k < std::min(cols, (i + 1) * step); ++k) {
        const int q = r.q[t * q_stride + k];
        const double want = zero ? 0 : double{x[t * x_stride + k]} / max * 127;
        bad.near(q, want, 0.50001, "q");
        sum += q;
      }
      bad.check(r.sum[t * steps + i] == sum, "sum");
      bad.check(r.scale[t * steps + i] == (zero ? 0 : max / 127), "scale");
    }
    for (int64_t k = cols; k < padded; ++k) bad.check(r.q[t * q_stride + k] == 0, "padding");
    if (t + 1 < tokens)
      for (int64_t k = padded; k < q_stride; ++k)
        bad.check(r.q[t * q_stride + k] == 99, "wrote beyond the padding");
  }
}

struct Steps {
  int64_t group, step;
};

TEST_CASE("quantize_activations: the same bits with every variant", "[quantize_activations]") {
  const auto table = quantize_activations_variants();
  for_each_variant(table, [&](const Variant<QuantizeActivations>& v) {
    Rng rng(1);
    for (const int64_t cols :
         {1, 2, 3, 7, 15, 16, 17, 31, 32, 33, 47, 48, 63, 64, 65, 80, 100, 160, 257, 768})
      for (const auto [group, step] :
           {Steps{32, 32}, {32, 16}, {64, 64}, {96, 96}, {128, 128}, {1024, 1024}})
        for (const int64_t tokens : {0, 1, 3}) {
          INFO("cols " << cols << " group " << group << " step " << step << " tokens " << tokens);
          const int64_t x_stride = cols + 3;
          Buffer<float> x(strided(tokens, cols, x_stride), 1);
          x.fill(1e30f);  // between rows: would spoil a maximum
          for (int64_t t = 0; t < tokens; ++t) {
            const float size = std::exp2(static_cast<float>(uniform_int(rng, -30, 30)));
            const int kind = uniform_int(rng, 0, 5);
            for (int64_t k = 0; k < cols; ++k) {
              float value = uniform(rng, -size, size);
              if (kind == 0) value = 0;
              if (kind == 1) value = std::ldexp(uniform(rng, -1, 1), -121);  // around the floor
              if (kind == 2) value = static_cast<float>(uniform_int(rng, -254, 254)) / 2;  // ties
              if (kind == 3 && uniform_int(rng, 0, 7) != 0) value *= 1e-4f;
              x[t * x_stride + k] = value;
            }
            if (kind == 2) x[t * x_stride] = 127;
          }
          const Result want =
              quantize(specification(table), x, x_stride, tokens, cols, group, step);
          const Result got = quantize(v, x, x_stride, tokens, cols, group, step);
          CHECK(got.q.same_bits(want.q));
          CHECK(got.scale.same_bits(want.scale));
          CHECK(got.sum.same_bits(want.sum));
          check_definition(got, x, x_stride, tokens, cols, group, step);
        }
  });
}

}  // namespace
}  // namespace klens::cpu
