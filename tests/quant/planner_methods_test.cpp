// Activations in plans, and the methods that plans are compared with.
#include <catch2/catch.hpp>
#include <tuple>

#include "quant/planners/activations.h"
#include "tests/quant/planning.h"

namespace klens {

using namespace planning;

namespace {

// Of int8g32 and int4g32, each with activations of 8 bits, which lose `activations`, and of 16.
Unit with_activations(const std::string& name, double weights, double activations) {
  Unit u = unit(name, {candidate("fp16", 2000, 0)});
  for (const auto& [format, bytes, lost] :
       {std::tuple{"int8g32", 1000, weights / 100}, {"int4g32", 500, weights}}) {
    u.candidates.push_back(candidate(format, bytes, lost + activations));
    u.candidates.push_back(candidate(format, bytes, lost));
    u.candidates.back().choice.activation_bits = 16;
  }
  return u;
}

int64_t in_16_bits(const Plan& plan) {
  return std::ranges::count_if(plan.units,
                               [](const auto& u) { return u.second.activation_bits == 16; });
}

}  // namespace

TEST_CASE("as few units get activations of 16 bits as keep their share of the KL small",
          "[planner]") {
  const Profile p =
      profile_of({with_activations("a", 0.01, 0.002), with_activations("b", 0.02, 0.001),
                  with_activations("c", 0.03, 0.0005)});
  PlanRequest request;
  request.budget.file_bytes = 1500 + 150;  // all in 4 bits: 0.06 by weights, 0.0035 by activations
  Plan made = plan(p, request);
  CHECK(in_16_bits(made) == 0);
  request.budget.file_bytes = 2000 + 150;
  made = plan(p, request);  // c in 8 bits: 0.0303 by weights, 0.0035 by activations
  CHECK(made.units.at("a").activation_bits == 16);
  CHECK(in_16_bits(made) == 1);
  CHECK(*made.predicted_kl == Approx(0.0303 + 0.0015));
  request.budget.file_bytes = 3000 + 150;  // all in 8 bits: 0.0006 by weights
  made = plan(p, request);
  CHECK(in_16_bits(made) == 3);
  CHECK(*made.predicted_kl == Approx(0.0006));
  request.budget = {.max_kl = 0.0008};
  CHECK(*plan(p, request).predicted_kl <= 0.0008);
  // Methods of others know no such thing, and --uniform gives what it is asked for.
  request = {.method = "kl-sort", .budget = {}, .uniform_format = {}, .pinned = {}};
  request.budget.file_bytes = 3000 + 150;
  CHECK(in_16_bits(plan(p, request)) == 0);
  request = {.method = "uniform", .budget = {}, .uniform_format = "int8g32", .pinned = {}};
  CHECK(in_16_bits(plan(p, request)) == 0);
  request.uniform_format = "int8g32@16";
  CHECK(in_16_bits(plan(p, request)) == 3);
}

TEST_CASE("a plan is no worse than 16 bits everywhere, but for the share that 8 bits may cost",
          "[planner]") {
  const Profile p =
      profile_of({with_activations("a", 1e-4, 4e-5), with_activations("b", 2e-4, 4e-5)});
  PlanRequest request;
  request.budget.file_bytes = 2000 + 150;
  const double uniform = 3e-6;  // int8g32@16
  CHECK(*plan(p, request).predicted_kl <= (1 + kActivationShare) * uniform);
  request.budget = {.max_kl = (1 + kActivationShare) * uniform};
  CHECK(plan(p, request).bytes == 2000 + 100);
  CHECK(*plan(p, request).optimality_gap == 0);
}

TEST_CASE("a budget that cannot be met is explained, and cured by what there is", "[planner]") {
  Profile p = profile_of({with_activations("a", 0.01, 0.002)});
  std::erase_if(p.units[0].candidates, [](const Candidate& c) {
    return c.choice.activation_bits == 8 && c.choice.format != "fp16";
  });
  PlanRequest r;
  r.budget.file_bytes = 100;
  CHECK_THAT(refusal(p, r), Catch::Contains("int4g32@16 for 1 unit(s); @16: with activations of 16 "
                                            "bits); allow more bytes, or measure smaller"));
  // One that is the smallest of all formats, without activations of 16 bits.
  const Format* least = nullptr;
  for (const auto& row : kFormats) {
    const Format& format = row_of_table(row);
    if (least == nullptr || bits_per_weight(format) < bits_per_weight(*least)) least = &format;
  }
  p.units[0].candidates.push_back(candidate(least->name, 200, 1));
  CHECK_THAT(refusal(p, r),
             Catch::EndsWith(std::string(least->name) + " for 1 unit(s)); allow more bytes"));
}

TEST_CASE("greedy goes upwards by the most KL for a byte", "[planner]") {
  const Profile p = small_profile();
  CHECK(formats(p, plan(p, request("greedy", 1.8))) == "int4g64 int4g64");
  CHECK(formats(p, plan(p, request("greedy", 2.6))) == "int4g64 int8");
  CHECK(formats(p, plan(p, request("greedy", 3))) == "int8 int8");
  CHECK(formats(p, plan(p, kl_request("greedy", 0.012))) == "int4g64 int8");
  CHECK_THAT(refusal(p, request("greedy", 1.7)), Catch::Contains("cannot be met"));
  for (uint32_t seed = 0; seed < 5; ++seed) {
    const Profile real = realistic_profile(8, seed);
    const double best = *plan(real, request("klens", 5)).predicted_kl;
    CHECK(*plan(real, request("greedy", 5)).predicted_kl < 1.5 * best);
  }
}

TEST_CASE("kl-max is the least bound on a unit's KL that fits", "[planner]") {
  const Profile p = small_profile();
  CHECK(formats(p, plan(p, request("kl-max", 1.8))) == "int4g64 int4g64");
  CHECK(formats(p, plan(p, request("kl-max", 2.9))) == "int4g64 int8");
  CHECK(formats(p, plan(p, request("kl-max", 3))) == "int8 int8");
  CHECK(formats(p, plan(p, request("kl-max", 6))) == "fp16 fp16");
  CHECK(formats(p, plan(p, kl_request("kl-max", 0.0125))) == "int4g64 int8");
  CHECK(formats(p, plan(p, kl_request("kl-max", 0))) == "fp16 fp16");
  CHECK_THAT(refusal(p, request("kl-max", 1.7)), Catch::Contains("cannot be met"));
}

TEST_CASE("the rule gives edges, values and outputs one format more, without any KL", "[planner]") {
  Profile p;
  for (int64_t block = 0; block < 16; ++block)
    for (const char* kind : {"q_proj", "v_proj"}) {
      Unit u = unit(
          std::to_string(block) + "." + kind,
          {candidate("fp16", 2000, 0), candidate("int8", 1000, 0), candidate("int4g64", 600, 0)});
      for (Candidate& c : u.candidates) c.kl.reset();
      u.kind = kind;
      u.block = block;
      u.rows = 1;
      u.cols = 1000;
      p.units.push_back(u);
    }
  PlanRequest r;
  r.method = "rule";
  r.budget.file_bytes = 32 * 1000;  // 12 of 600, 20 of 1000
  const Plan made = plan(p, r);
  CHECK(!made.predicted_kl);
  for (const Unit& u : p.units) {
    CAPTURE(u.name);
    const bool careful = u.kind == "v_proj" || u.block < 2 || u.block >= 14;
    CHECK(made.units.at(u.name).format == (careful ? "int8" : "int4g64"));
  }
  r.budget.file_bytes = 12 * 600 + 20 * 1000 - 1;
  CHECK_THAT(refusal(p, r), Catch::Contains("cannot be met"));
}

}  // namespace klens
