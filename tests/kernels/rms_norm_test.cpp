#include "kernels/cpu/norm/rms_norm.h"

#include "tests/kernels/testing.h"

namespace klens::cpu {
namespace {

using namespace klens::testing;

TEST_CASE("rms_norm: rows agree with the specification", "[rms_norm]") {
  for_each_variant(rms_norm_variants(), [](const Variant<RmsNorm>& v) {
    Rng rng(1);
    for (const int64_t cols :
         {1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 80, 100, 160, 768, 1001, 4096})
      for (const int64_t tokens : {0, 1, 2, 5})
        for (const bool weighted : {true, false}) {
          INFO("cols " << cols << " tokens " << tokens << " weighted " << weighted);
          const int64_t x_stride = cols + 3, y_stride = cols + 1;
          Buffer<float> x(strided(tokens, cols, x_stride), 1), weight(cols, 1);
          Buffer<float> want(strided(tokens, cols, y_stride), 1);
          x.fill(kPoison);
          const float size = std::exp2(static_cast<float>(uniform_int(rng, -20, 20)));
          for (int64_t t = 0; t < tokens; ++t)
            for (int64_t i = 0; i < cols; ++i) x[t * x_stride + i] = uniform(rng, -size, size);
          fill_uniform(weight, rng, -2, 2);
          want.fill(kPoison);
          Buffer<float> got = want;
          RmsNormArgs a{
              x.data(), x_stride, want.data(), y_stride, weighted ? weight.data() : nullptr,
              tokens,   cols,     1e-5f};
          specification(rms_norm_variants()).run(a);
          a.y = got.data();
          v.run(a);
          Mismatches bad;
          for (int64_t i = 0; i < got.size(); ++i) {
            if (i % y_stride >= cols) {
              bad.check(poisoned(got[i]), "wrote between rows");
              continue;
            }
            const double bound = 3 * kEps;
            bad.near(got[i], want[i], bound * std::fabs(double{want[i]}) + 1e-40,
                     std::to_string(i));
          }
          // One token at a time, in place: the same bits.
          Buffer<float> alone = x;
          for (int64_t t = 0; t < tokens; ++t) {
            float* row = alone.data() + t * x_stride;
            v.run({row, x_stride, row, x_stride, a.weight, 1, cols, 1e-5f});
            bad.check(std::memcmp(row, got.data() + t * y_stride,
                                  static_cast<size_t>(cols) * sizeof(float)) == 0,
                      "a token alone differs");
          }
        }
  });
}

}  // namespace
}  // namespace klens::cpu
