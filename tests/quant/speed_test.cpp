// Plans within a time for each decoded token.
#include <algorithm>
#include <catch2/catch.hpp>
#include <limits>

#include "quant/planner.h"

namespace klens {
namespace {

Candidate speed_candidate(const char* format, int64_t bytes, double kl, double us) {
  Candidate c;
  c.choice = {format, "rtn"};
  c.bytes = bytes;
  c.kl = kl;
  c.decode_us = us;
  return c;
}

// Times that go with no order of bytes.
Profile timed_profile() {
  Profile profile;
  profile.decode_rest_us = 20;
  profile.fixed_bytes = 100;
  for (int u = 0; u < 4; ++u) {
    const double more = 1 + 0.37 * u;
    Unit unit;
    unit.name = "layers." + std::to_string(u) + ".in_proj";
    unit.kind = "in_proj";
    unit.rows = unit.cols = 64;
    unit.candidates = {speed_candidate("fp16", 8192, 0, 40 * more),
                       speed_candidate("int8", 4224, 0.001 * more, 18 * more),
                       speed_candidate("int6g32", 3328, 0.003 / more, 21 * more),
                       speed_candidate("int4g32", 2304, 0.02 * more, 9 + u)};
    profile.units.push_back(unit);
  }
  return profile;
}

PlanRequest at_least(double tok_s) {
  PlanRequest request;
  request.budget.min_tok_s = tok_s;
  return request;
}

// The least KL of all choices that are fast enough; infinite where none is.
double best_kl(const Profile& profile, double tok_s, size_t unit = 0, double us = 0) {
  if (unit == profile.units.size())
    return us + *profile.decode_rest_us <= 1e6 / tok_s ? 0
                                                       : std::numeric_limits<double>::infinity();
  double best = std::numeric_limits<double>::infinity();
  for (const Candidate& c : profile.units[unit].candidates)
    best = std::min(best, *c.kl + best_kl(profile, tok_s, unit + 1, us + *c.decode_us));
  return best;
}

}  // namespace

TEST_CASE("a plan by speed has the least KL that is fast enough", "[planner]") {
  const Profile profile = timed_profile();
  for (const double tok_s : {3000.0, 5000.0, 8000.0, 10000.0, 12000.0, 14000.0}) {
    CAPTURE(tok_s);
    const auto result = make_plan(profile, at_least(tok_s));
    REQUIRE(std::holds_alternative<Plan>(result));
    const Plan& plan = std::get<Plan>(result);
    CHECK(*plan.predicted_tok_s >= tok_s);
    CHECK(*plan.predicted_kl == Approx(best_kl(profile, tok_s)));
    CHECK(plan.budget.ends_with(" tok/s"));
    int64_t bytes = profile.fixed_bytes;
    for (const Unit& unit : profile.units)
      bytes +=
          std::ranges::find(unit.candidates, plan.units.at(unit.name), &Candidate::choice)->bytes;
    CHECK(plan.bytes == bytes);
    CHECK(plan.bpw == bits_per_weight(profile, bytes));
  }
}

TEST_CASE("every method that takes a budget keeps to a speed", "[planner]") {
  Profile profile = timed_profile();
  for (Unit& unit : profile.units)
    for (const Metric* metric : kMetrics) {
      if (!metric->of_candidates()) unit.weights[*metric] = 1;
      for (Candidate& c : unit.candidates)
        if (metric->of_candidates() && metric != &kKl) c.others[*metric] = *c.kl;
    }
  for (const PlanMethod& method : kPlanMethods) {
    if (method.takes_format) continue;
    CAPTURE(method.name);
    PlanRequest request = at_least(9000);
    request.method = method.name;
    const auto result = make_plan(profile, request);
    if (method.unmeasured) {
      CHECK_THAT(std::get<std::string>(result), Catch::Contains("it can keep no speed"));
      continue;
    }
    if (const auto* why = std::get_if<std::string>(&result)) FAIL(*why);
    CHECK(*std::get<Plan>(result).predicted_tok_s >= 9000);
  }
}

TEST_CASE("a speed that cannot be had, or was not timed, is refused in a line", "[planner]") {
  const auto refusal = [](const Profile& profile, double tok_s) {
    return std::get<std::string>(make_plan(profile, at_least(tok_s)));
  };
  // 20 us and the fastest of each: 9 + 10 + 11 + 12.
  CHECK_THAT(refusal(timed_profile(), 20000), Catch::Contains("decodes 16129 tok/s"));
  CHECK_THAT(refusal(timed_profile(), 1e300), Catch::Contains("cannot be met"));
  CHECK_THAT(refusal(timed_profile(), 0), Catch::Contains("above 0"));
  Profile some = timed_profile();
  some.units[2].candidates[1].decode_us.reset();
  CHECK_THAT(refusal(some, 1), Catch::Contains("layers.2.in_proj was not timed in int8"));
  Profile none = timed_profile();
  none.decode_rest_us.reset();
  CHECK_THAT(refusal(none, 1), Catch::Contains("--times"));
  PlanRequest two = at_least(10);
  two.budget.bpw = 4;
  CHECK_THAT(std::get<std::string>(make_plan(timed_profile(), two)),
             Catch::Contains("exactly one budget"));
}

}  // namespace klens
