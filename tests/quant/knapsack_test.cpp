#include "quant/planners/knapsack.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <random>

namespace klens {
namespace {

using Items = std::vector<std::vector<KnapsackOption>>;

struct Best {
  bool feasible = false;
  double cost = 0, weight = 0;
};

Best brute_force(const Items& items, double capacity) {
  Best best;
  std::vector<size_t> choice(items.size(), 0);
  while (true) {
    double cost = 0, weight = 0;
    for (size_t i = 0; i < items.size(); ++i) {
      cost += items[i][choice[i]].cost;
      weight += items[i][choice[i]].weight;
    }
    const bool better =
        !best.feasible || cost < best.cost || (cost == best.cost && weight < best.weight);
    if (weight <= capacity && better) best = {true, cost, weight};
    size_t i = 0;
    while (i < items.size() && ++choice[i] == items[i].size()) choice[i++] = 0;
    if (i == items.size()) return best;
  }
}

enum class Kind { kReals, kTies, kSubsetSum, kSkewed };

// Costs may be negative; weights are bytes in steps of 64 except of kTies, whose numbers are small.
Items random_items(Kind kind, size_t count, size_t options, std::mt19937& rng) {
  std::uniform_real_distribution<double> real(-0.1, 1);
  std::uniform_int_distribution<int> small(-2, 9), steps(1, 2000);
  Items items(count);
  for (auto& item : items)
    for (size_t o = 0; o < options; ++o) {
      const double weight = kind == Kind::kTies ? std::abs(small(rng)) : 64.0 * steps(rng);
      double cost = real(rng);
      if (kind == Kind::kTies) cost = small(rng) / 4.0;
      if (kind == Kind::kSubsetSum) cost = -weight / 1024;
      if (kind == Kind::kSkewed) cost = std::exp(10 * real(rng)) * 1e-6;
      item.push_back({cost, weight});
    }
  return items;
}

double random_capacity(const Items& items, std::mt19937& rng) {
  double least = 0, most = 0;
  for (const auto& item : items) {
    const auto [a, b] = std::minmax_element(item.begin(), item.end(),
                                            [](auto& x, auto& y) { return x.weight < y.weight; });
    least += a->weight;
    most += b->weight;
  }
  return std::floor(least +
                    std::uniform_real_distribution<double>(-0.1, 1.1)(rng) * (most - least));
}

void check_sums(const Items& items, double capacity, const KnapsackSolution& s) {
  REQUIRE(s.choice.size() == items.size());
  double cost = 0, weight = 0;
  for (size_t i = 0; i < items.size(); ++i) {
    cost += items[i][s.choice[i]].cost;
    weight += items[i][s.choice[i]].weight;
  }
  CHECK(s.cost == cost);
  CHECK(s.weight == weight);
  CHECK(weight <= capacity);
}

}  // namespace

TEST_CASE("the knapsack equals brute force", "[knapsack]") {
  std::mt19937 rng(1);
  int infeasible = 0;
  for (int instance = 0; instance < 800; ++instance) {
    const auto kind = static_cast<Kind>(instance % 4);
    const size_t count = 1 + rng() % 7;
    const size_t options = 1 + rng() % 4;
    const Items items = random_items(kind, count, options, rng);
    const double capacity = random_capacity(items, rng);
    const Best best = brute_force(items, capacity);
    const auto solution = solve_knapsack(items, capacity);
    CAPTURE(instance, capacity);
    REQUIRE(solution.has_value() == best.feasible);
    infeasible += !best.feasible;
    if (!best.feasible) continue;
    check_sums(items, capacity, *solution);
    CHECK(solution->gap == 0);
    CHECK(solution->cost == Approx(best.cost).epsilon(0).margin(1e-11));
    // Sums of quarters are exact, so there ties are ties, and the lighter solution is due.
    if (kind == Kind::kTies) CHECK(solution->weight == best.weight);
  }
  CHECK(infeasible > 20);
}

TEST_CASE("the knapsack with costs and weights exchanged equals brute force", "[knapsack]") {
  std::mt19937 rng(2);
  for (int instance = 0; instance < 400; ++instance) {
    Items items = random_items(static_cast<Kind>(instance % 4), 1 + rng() % 6, 4, rng);
    for (auto& item : items)
      for (KnapsackOption& o : item) std::swap(o.cost, o.weight);
    double least = 0, most = 0;
    for (const auto& item : items) {
      least += item[0].weight;
      most += item[1].weight;
    }
    // Also capacities that a solution meets exactly.
    const double capacity = instance % 2 == 0 ? least : (least + most) / 2;
    const Best best = brute_force(items, capacity);
    const auto solution = solve_knapsack(items, capacity);
    CAPTURE(instance);
    REQUIRE(solution.has_value() == best.feasible);
    if (!best.feasible) continue;
    check_sums(items, capacity, *solution);
    CHECK(solution->gap == 0);
    CHECK(solution->cost == Approx(best.cost).epsilon(1e-12));
  }
}

TEST_CASE("the knapsack equals dynamic programming over small weights", "[knapsack]") {
  std::mt19937 rng(4);
  std::uniform_int_distribution<int> weight(0, 40);
  std::uniform_real_distribution<double> cost(-0.1, 1);
  for (int instance = 0; instance < 200; ++instance) {
    Items items(40);
    for (auto& item : items)
      for (int o = 0; o < 4; ++o) {
        const double w = weight(rng);
        // Half of the instances are nearly on a line, where bounds are tight.
        const double c = cost(rng);
        item.push_back({instance % 2 == 0 ? c : 1 - w / 40 + 0.05 * c, w});
      }
    const auto capacity = static_cast<size_t>(400 + rng() % 800);
    std::vector<double> least(capacity + 1, 0.0);  // by weight allowed
    for (const auto& item : items) {
      std::vector<double> next(capacity + 1, INFINITY);
      for (size_t w = 0; w <= capacity; ++w)
        for (const KnapsackOption& o : item)
          if (const auto used = static_cast<size_t>(o.weight); used <= w)
            next[w] = std::min(next[w], least[w - used] + o.cost);
      least = next;
    }
    CAPTURE(instance);
    const auto solution = solve_knapsack(items, static_cast<double>(capacity));
    REQUIRE(solution.has_value() == std::isfinite(least[capacity]));
    if (!solution) continue;
    check_sums(items, static_cast<double>(capacity), *solution);
    CHECK(solution->gap == 0);
    CHECK(solution->cost == Approx(least[capacity]).epsilon(0).margin(1e-11));
  }
}

TEST_CASE("a small cap on labels leaves an honest gap", "[knapsack]") {
  std::mt19937 rng(3);
  int with_gap = 0;
  for (int instance = 0; instance < 300; ++instance) {
    const Items items = random_items(static_cast<Kind>(instance % 4), 7, 4, rng);
    const double capacity = random_capacity(items, rng);
    const Best best = brute_force(items, capacity);
    for (size_t cap : {1, 2, 8, 40}) {
      const auto solution = solve_knapsack(items, capacity, cap);
      REQUIRE(solution.has_value() == best.feasible);
      if (!best.feasible) continue;
      CAPTURE(instance, cap);
      check_sums(items, capacity, *solution);
      CHECK(solution->cost >= best.cost - 1e-11);
      CHECK(solution->cost - solution->gap <= best.cost + 1e-11);
      with_gap += solution->gap > 0;
    }
  }
  CHECK(with_gap > 20);
}

TEST_CASE("an item without a choice and no item at all", "[knapsack]") {
  const auto one = solve_knapsack({{{2, 10}}}, 10);
  REQUIRE(one);
  CHECK(one->choice == std::vector<size_t>{0});
  CHECK(one->cost == 2);
  CHECK_FALSE(solve_knapsack({{{2, 10}}}, 9));
  const auto none = solve_knapsack({}, 0);
  REQUIRE(none);
  CHECK(none->cost == 0);
  CHECK_FALSE(solve_knapsack({}, -1));
}

}  // namespace klens
