#include "engine/sampler.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <map>
#include <numeric>
#include <random>
#include <set>

namespace klens {
namespace {

std::map<int32_t, int> draw(const SamplerOptions& options, const std::vector<float>& logits,
                            int times) {
  Sampler sampler(options);
  std::map<int32_t, int> counts;
  for (int i = 0; i < times; ++i) ++counts[sampler.sample(logits)];
  return counts;
}

const std::vector<float> kLogits = {std::log(0.1f), std::log(0.4f), std::log(0.2f), std::log(0.25f),
                                    std::log(0.05f)};

}  // namespace

TEST_CASE("greedy takes the largest logit, the smaller id on ties", "[sampler]") {
  CHECK(draw({}, kLogits, 5) == std::map<int32_t, int>{{1, 5}});
  CHECK(draw({}, {1, 3, 3, 2}, 2) == std::map<int32_t, int>{{1, 2}});
}

TEST_CASE("ids without a token are never chosen", "[sampler]") {
  for (const float temperature : {0.0f, 1.0f, 100.0f}) {
    Sampler sampler({.temperature = temperature, .seed = 3});
    sampler.restrict_to(4, {1, 2});
    std::set<int32_t> chosen;
    for (int i = 0; i < 3000; ++i) chosen.insert(sampler.sample(kLogits));
    CHECK(chosen == (temperature == 0 ? std::set<int32_t>{3} : std::set<int32_t>{0, 3}));
  }
}

TEST_CASE("temperature 1 draws from the softmax", "[sampler]") {
  constexpr int kTimes = 100000;
  const auto counts = draw({.temperature = 1, .seed = 5}, kLogits, kTimes);
  for (size_t i = 0; i < kLogits.size(); ++i) {
    const double p = std::exp(kLogits[i]);
    CHECK(std::fabs(counts.at(static_cast<int32_t>(i)) / double{kTimes} - p) <
          5 * std::sqrt(p * (1 - p) / kTimes));
  }
}

TEST_CASE("temperature sharpens and flattens", "[sampler]") {
  constexpr int kTimes = 50000;
  const double total =
      std::pow(.1, 2) + std::pow(.4, 2) + std::pow(.2, 2) + std::pow(.25, 2) + std::pow(.05, 2);
  const auto sharp = draw({.temperature = 0.5, .seed = 1}, kLogits, kTimes);
  CHECK(sharp.at(1) / double{kTimes} == Approx(0.16 / total).epsilon(0.03));
}

TEST_CASE("top-k, top-p and min-p keep what they say", "[sampler]") {
  const auto kept = [](const SamplerOptions& options) {
    std::string ids;
    for (const auto& [id, count] : draw(options, kLogits, 5000)) ids += static_cast<char>('0' + id);
    return ids;
  };
  CHECK(kept({.temperature = 1, .top_k = 2}) == "13");
  CHECK(kept({.temperature = 1, .top_k = 99}) == "01234");
  CHECK(kept({.temperature = 1, .top_p = 0.6f}) == "13");   // 0.4 does not reach 0.6, 0.65 does
  CHECK(kept({.temperature = 1, .top_p = 0.01f}) == "1");   // the likeliest always stays
  CHECK(kept({.temperature = 1, .min_p = 0.3f}) == "123");  // at least 0.12
  CHECK(kept({.temperature = 1, .top_k = 3, .top_p = 0.99f, .min_p = 0.55f}) == "13");
}

TEST_CASE("the repeat penalty moves recent tokens only, for as long as they are recent",
          "[sampler]") {
  Sampler sampler({.repeat_penalty = 2, .repeat_last_n = 2});
  const std::vector<float> logits = {1.0f, 1.9f, -1.0f};
  CHECK(sampler.sample(logits) == 1);  // 1.9 -> 0.95 from now on
  CHECK(sampler.sample(logits) == 0);  // 1.0 -> 0.5
  CHECK(sampler.sample(logits) == 1);  // 0.95 against 0.5
  sampler.accept(7);                   // no token of this vocabulary: no harm
  sampler.accept(7);
  CHECK(sampler.sample(logits) == 1);  // both forgotten
}

TEST_CASE("a seed fixes the choices", "[sampler]") {
  const auto run = [](uint64_t seed) {
    Sampler sampler({.temperature = 1, .seed = seed});
    std::vector<int32_t> ids;
    for (int i = 0; i < 50; ++i) ids.push_back(sampler.sample(kLogits));
    return ids;
  };
  CHECK(run(3) == run(3));
  CHECK(run(3) != run(4));
}

// Against sorting, over a vocabulary in which many are equal.
TEST_CASE("top-k of a large vocabulary takes the largest, of equal ones the first", "[sampler]") {
  std::mt19937 random(1);
  std::vector<float> logits(20011);
  for (float& l : logits) l = static_cast<float>(random() % 300) * 0.25f;
  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    return logits[static_cast<size_t>(a)] > logits[static_cast<size_t>(b)];
  });
  for (const int32_t k : {1, 2, 7, 40, 333}) {
    const std::set<int32_t> likeliest(order.begin(), order.begin() + k);
    std::set<int32_t> drawn;
    Sampler sampler({.temperature = 1e4f, .top_k = k});
    for (int i = 0; i < 12 * k + 20; ++i) drawn.insert(sampler.sample(logits));
    CHECK(drawn == likeliest);
  }
}

}  // namespace klens
