#include "kernels/cpu/divergence/divergence.h"

#include "tests/kernels/testing.h"

namespace klens::cpu {
namespace {

using namespace klens::testing;

// KL(p || q) straight from its definition, in extended precision.
long double kl_of(const Buffer<float>& z, const Buffer<float>& zq) {
  long double sum_p = 0, sum_q = 0, weighted = 0;
  long double max_p = z[0], max_q = zq[0];
  for (int64_t i = 0; i < z.size(); ++i) {
    max_p = std::max<long double>(max_p, z[i]);
    max_q = std::max<long double>(max_q, zq[i]);
  }
  for (int64_t i = 0; i < z.size(); ++i) {
    const long double e = std::exp(z[i] - max_p);
    sum_p += e;
    sum_q += std::exp(zq[i] - max_q);
    weighted += e * (static_cast<long double>(z[i]) - zq[i]);
  }
  return weighted / sum_p - (max_p - max_q) - std::log(sum_p) + std::log(sum_q);
}

void fill_logits(const Buffer<float>& z, float spread, Rng& rng) {
  std::normal_distribution<float> normal(-3, spread);
  for (int64_t i = 0; i < z.size(); ++i) z[i] = normal(rng);
}

TEST_CASE("divergence: rows agree with the specification", "[divergence]") {
  const auto table = divergence_variants();
  for_each_variant(table, [&](const Variant<DivergenceFn>& v) {
    Rng rng(1);
    double worst = 0;
    for (const int64_t vocab : {1, 2, 3, 7, 8, 9, 15, 17, 31, 33, 100, 1000, 8001})
      for (const float spread : {0.1f, 2.0f, 10.0f})
        for (const float noise : {0.0f, 1e-5f, 1e-4f, 1e-3f, 0.1f, 0.6f, 3.0f, 30.0f}) {
          Buffer<float> z(vocab, 1), zq(vocab, 1);
          fill_logits(z, spread, rng);
          std::normal_distribution<float> normal(0, 1);
          const float shift = normal(rng);
          for (int64_t i = 0; i < vocab; ++i) zq[i] = z[i] + noise * (normal(rng) + shift);
          INFO("vocab " << vocab << " spread " << spread << " noise " << noise);
          const Divergence got = v.run({z.data(), zq.data(), vocab});
          const Divergence want = specification(table).run({z.data(), zq.data(), vocab});
          CHECK(got.lse_p == Approx(want.lse_p).epsilon(0).margin(1e-6));
          CHECK(got.lse_q == Approx(want.lse_q).epsilon(0).margin(1e-6));
          CHECK(std::fabs(got.kl - want.kl) <= 1e-12 + 1e-5 * want.kl);
          CHECK(std::fabs(got.kl_reverse - want.kl_reverse) <= 1e-12 + 1e-5 * want.kl_reverse);
          CHECK(got.squared == Approx(want.squared).epsilon(1e-6));
          CHECK(got.squared_error == Approx(want.squared_error).epsilon(1e-6));
          CHECK(want.kl == Approx(static_cast<double>(kl_of(z, zq))).epsilon(1e-9).margin(1e-14));
          CHECK(want.kl_reverse ==
                Approx(static_cast<double>(kl_of(zq, z))).epsilon(1e-9).margin(1e-14));
          CHECK(got.kl >= 0);
          CHECK(got.kl_reverse >= 0);
          if (want.kl > 1e-10) worst = std::max(worst, std::fabs(got.kl / want.kl - 1));
        }
    std::printf("kl %s: relative error at most %.2g\n", v.name, worst);
  });
}

TEST_CASE("divergence: nothing overflows where the two hardly overlap", "[divergence]") {
  for_each_variant(divergence_variants(), [](const Variant<DivergenceFn>& v) {
    Buffer<float> z(20), zq(20);
    for (int64_t i = 0; i < 20; ++i) {
      z[i] = i == 3 ? 2000.0f : 0.0f;
      zq[i] = i == 11 ? 2000.0f : 0.0f;
    }
    const Divergence d = v.run({z.data(), zq.data(), 20});
    CHECK(d.kl == Approx(2000));
    CHECK(d.kl_reverse == Approx(2000));
    CHECK(d.lse_p == 2000);
  });
}

TEST_CASE("log_sum_exp: rows agree with the specification", "[divergence]") {
  const auto table = log_sum_exp_variants();
  for_each_variant(table, [&](const Variant<LogSumExpFn>& v) {
    Rng rng(2);
    for (const int64_t vocab : {1, 2, 3, 7, 8, 9, 15, 17, 31, 33, 100, 1000, 50277})
      for (const float spread : {0.1f, 2.0f, 10.0f, 100.0f}) {
        Buffer<float> z(vocab, 1);
        fill_logits(z, spread, rng);
        INFO("vocab " << vocab << " spread " << spread);
        CHECK(std::fabs(v.run(z.data(), vocab) - specification(table).run(z.data(), vocab)) <=
              1e-6);
      }
    Buffer<float> z(5);
    z.fill(-1000);  // all far below zero: the maximum must not be a padding zero
    CHECK(v.run(z.data(), 5) == Approx(-1000 + std::log(5.0)));
  });
}

}  // namespace
}  // namespace klens::cpu
