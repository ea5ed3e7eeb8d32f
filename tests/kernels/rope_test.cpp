#include "kernels/cpu/rope/rope.h"

#include "tests/kernels/testing.h"

namespace klens::cpu {
namespace {

using namespace klens::testing;

void run_case(const Variant<Rope>& v, int64_t tokens, int64_t heads, int64_t dim, int64_t pairs,
              Rng& rng) {
  INFO("tokens " << tokens << " heads " << heads << " dim " << dim << " pairs " << pairs);
  const int64_t stride = heads * dim + 3;
  const Buffer<float> x(strided(tokens, heads * dim, stride), 1);
  const Buffer<float> cos(tokens * pairs, 2), sin(tokens * pairs, 3);
  fill_uniform(x, rng, -4, 4);
  for (int64_t i = 0; i < cos.size(); ++i) {
    const float angle = uniform(rng, -10, 10);
    cos[i] = std::cos(angle);
    sin[i] = std::sin(angle);
  }
  for (int64_t t = 0; t + 1 < tokens; ++t)  // between the rows
    for (int64_t i = heads * dim; i < stride; ++i) x[t * stride + i] = kPoison;
  const Buffer<float> got = x, want = x, single = x;
  const auto args = [&](const Buffer<float>& to) {
    return RopeArgs{to.data(), stride, cos.data(), sin.data(), tokens, heads, dim, pairs};
  };
  specification(rope_variants()).run(args(want));
  v.run(args(got));
  Mismatches bad;
  for (int64_t i = 0; i < x.size(); ++i) {
    const int64_t c = i % stride % dim, first = i - (c >= pairs ? pairs : 0);
    if (i % stride >= heads * dim || c >= 2 * pairs) {
      bad.check(std::memcmp(&got[i], &x[i], 4) == 0, "changed what it must not");
    } else {
      const double bound = 2 * kEps * (std::fabs(x[first]) + std::fabs(x[first + pairs]));
      bad.near(got[i], want[i], bound, at(i / stride, i % stride));
    }
  }
  for (int64_t t = 0; t < tokens; ++t)
    v.run({single.data() + t * stride, stride, cos.data() + t * pairs, sin.data() + t * pairs, 1,
           heads, dim, pairs});
  CHECK(single.same_bits(got));
}

TEST_CASE("rope: rows agree with the specification", "[rope]") {
  for_each_variant(rope_variants(), [](const Variant<Rope>& v) {
    Rng rng(1);
    for (const int64_t pairs : {0, 1, 4, 7, 8, 9, 16, 20, 32, 40, 64})
      for (const int64_t rest : {0, 1, 8, 20})
        for (const int64_t heads : {1, 3})
          for (const int64_t tokens : {0, 1, 2, 5})
            if (pairs + rest > 0) run_case(v, tokens, heads, 2 * pairs + rest, pairs, rng);
  });
}

TEST_CASE("rope: a quarter turn", "[rope]") {
  for_each_variant(rope_variants(), [](const Variant<Rope>& v) {
    float x[] = {1, 2, 3, 4, 5}, cos[] = {0, 1}, sin[] = {1, 0};
    v.run({x, 5, cos, sin, 1, 1, 5, 2});
    const float want[] = {-3, 2, 1, 4, 5};
    for (int i = 0; i < 5; ++i) CHECK(x[i] == want[i]);
  });
}

}  // namespace
}  // namespace klens::cpu
