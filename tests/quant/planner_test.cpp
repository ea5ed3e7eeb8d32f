#include "quant/planner.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <random>

#include "base/statistics.h"
#include "quant/format.h"
#include "quant/planners/methods.h"
#include "tests/quant/planning.h"

namespace klens {

using namespace planning;

TEST_CASE("klens spends bytes where they save most", "[planner]") {
  const Profile p = small_profile();
  // 600 + 2000 = 2600 bytes = 2.6 bpw of 8000 weights; the 100 fixed bytes count in bytes only.
  const Plan made = plan(p, request("klens", 2.6));
  CHECK(formats(p, made) == "int4g64 int8");
  CHECK(made.bytes == 2700);
  CHECK(made.bpw == 2.6);
  CHECK(*made.predicted_kl == Approx(0.012));
  CHECK(made.optimality_gap == 0.0);
  CHECK(made.method == "klens");
  CHECK(made.budget == "2.6 bpw");
  CHECK_FALSE(made.measured_kl);
}

TEST_CASE("budgets count what they say", "[planner]") {
  const Profile p = small_profile();
  // The header counts for a file size only.
  CHECK(plan(p, size_request("klens", 2750)).bytes == 2700);
  CHECK(plan(p, size_request("klens", 2750)).budget == "2750 bytes");
  CHECK(plan(p, size_request("klens", 2749)).bytes == 2300);  // fp16 and int4g64 are no better
  CHECK(plan(p, request("klens", 2.5999)).bytes == 2300);
  CHECK(plan(p, request("klens", 100)).bytes == 6100);
  CHECK(formats(p, plan(p, kl_request("klens", 0.012))) == "int4g64 int8");
  CHECK(formats(p, plan(p, kl_request("klens", 0.0119))) == "int8 int8");
  CHECK(formats(p, plan(p, kl_request("klens", 0))) == "fp16 fp16");
  CHECK(plan(p, kl_request("klens", 0.012)).budget == "kl 0.012");
}

TEST_CASE("a plan's own figures are a budget it meets", "[planner]") {
  const Profile p = realistic_profile(12, 5);
  for (double bpw : {4.3, 4.7, 5.5, 8.5, 12.0}) {
    const Plan made = plan(p, request("klens", bpw));
    CHECK(made.bpw <= bpw);
    CHECK(plan(p, request("klens", made.bpw)).units == made.units);
    const Plan again = plan(p, kl_request("klens", *made.predicted_kl));
    CHECK(again.bytes <= made.bytes);
    CHECK(*again.predicted_kl <= *made.predicted_kl);
  }
}

TEST_CASE("klens loses no more than the sorts", "[planner]") {
  for (uint32_t seed = 1; seed <= 10; ++seed) {
    const Profile p = realistic_profile(24, seed);
    for (double bpw : {4.4, 4.6, 5.0, 6.0, 8.0, 10.0}) {
      const Plan best = plan(p, request("klens", bpw));
      CHECK(best.optimality_gap == 0.0);
      for (const char* method : {"kl-sort", "sqnr-sort", "mse-sort"}) {
        const Plan sorted = plan(p, request(method, bpw));
        CAPTURE(seed, bpw, method);
        CHECK(sorted.bpw <= bpw);
        CHECK(*best.predicted_kl <= *sorted.predicted_kl);
        CHECK_FALSE(sorted.optimality_gap);
        const Plan by_kl = plan(p, kl_request("klens", *sorted.predicted_kl));
        CHECK(by_kl.bytes <= sorted.bytes);
      }
    }
  }
}

TEST_CASE("more budget never loses more", "[planner]") {
  const Profile p = realistic_profile(10, 3);
  double last = 1e9;
  for (double bpw = 4.3; bpw < 17; bpw += 0.1) {
    const double kl = *plan(p, request("klens", bpw)).predicted_kl;
    CHECK(kl <= last);
    last = kl;
  }
  CHECK(last == 0);
  int64_t most = INT64_MAX;
  for (double kl = 0; kl < 1; kl += 0.02) {
    const int64_t bytes = plan(p, kl_request("klens", kl)).bytes;
    CHECK(bytes <= most);
    most = bytes;
  }
}

TEST_CASE("400 units are planned exactly, and twice the same", "[planner]") {
  const Profile p = realistic_profile(100, 8);
  for (double bpw : {4.3, 4.5, 5.0, 7.0}) {
    const Plan made = plan(p, request("klens", bpw));
    CHECK(made.optimality_gap == 0.0);
    CHECK(made.bpw <= bpw);
    CHECK(made.units == plan(p, request("klens", bpw)).units);
  }
}

TEST_CASE("negative marginal KLs are taken at their word", "[planner]") {
  const Profile p =
      profile_of({unit("a", {candidate("fp16", 2000, 0), candidate("int8", 1000, -0.001),
                             candidate("int4g64", 600, 0.003)}),
                  unit("b", {candidate("fp16", 4000, -0.002), candidate("int8", 2000, 0.002)})});
  const Plan made = plan(p, request("klens", 16));
  CHECK(formats(p, made) == "int8 fp16");
  CHECK(*made.predicted_kl == Approx(-0.003));
  CHECK(formats(p, plan(p, kl_request("klens", 0.001))) == "int8 int8");
}

TEST_CASE("differences under the noise are not chased", "[planner]") {
  const auto kept = [](const std::vector<Candidate>& candidates) {
    std::vector<const Candidate*> open;
    for (const Candidate& c : candidates) open.push_back(&c);
    std::string names;
    for (const Candidate* c : significant_candidates(open))
      names += (names.empty() ? "" : " ") + c->choice.format;
    return names;
  };
  // Without errors every improvement counts, and a tie does not.
  CHECK(kept({candidate("fp16", 16, 0), candidate("int8", 8, 1e-9),
              candidate("int4g64", 4, 1e-9)}) == "int4g64 fp16");
  // Independent errors: 2 * hypot(3, 4) = 10.
  CHECK(kept({candidate("int4g64", 4, 20, 3), candidate("int8", 8, 10.5, 4)}) == "int4g64");
  CHECK(kept({candidate("int4g64", 4, 20, 3), candidate("int8", 8, 9.5, 4)}) == "int4g64 int8");
  // A dropped candidate drops no other: fp16 is within the noise of int8, int8 within that of int4,
  // but fp16 is better than int4 beyond doubt.
  CHECK(kept({candidate("fp16", 16, 0), candidate("int8", 8, 9, 5),
              candidate("int4g64", 4, 18, 5)}) == "int4g64 fp16");
  // Larger and worse is never kept; of equal bytes the better one is.
  CHECK(kept({candidate("int4g32", 5, 3), candidate("int4g64", 4, 2),
              candidate("int4g128", 4, 1)}) == "int4g128");
}

TEST_CASE("windows measured together are compared in pairs", "[planner]") {
  // Every window's difference is near 1, though windows differ by far more than that.
  Candidate small = candidate("int4g64", 4, 6), large = candidate("int8", 8, 5);
  small.kl_windows = {2.1, 4.0, 7.9, 10.0};
  large.kl_windows = {1.0, 3.1, 7.0, 8.9};
  small.kl_stderr = standard_error(small.kl_windows);
  large.kl_stderr = standard_error(large.kl_windows);
  CHECK(*small.kl_stderr > 1);
  CHECK(*paired_standard_error(small.kl_windows, large.kl_windows) < 0.1);
  CHECK(significant_candidates({&small, &large}).size() == 2);
  large.kl_windows.pop_back();  // no longer pairs
  CHECK(significant_candidates({&small, &large}).size() == 1);
}

TEST_CASE("noise is chased only where a KL limit demands it", "[planner]") {
  const Profile p =
      profile_of({unit("a", {candidate("fp16", 2000, 0), candidate("int8", 1000, 0.001, 0.01)})});
  CHECK(formats(p, plan(p, request("klens", 16))) == "int8");
  CHECK(formats(p, plan(p, kl_request("klens", 0.001))) == "int8");
  CHECK(formats(p, plan(p, kl_request("klens", 0.0005))) == "fp16");
}

// sensitivity.md, "Allocation in the paper", by hand. The list in ascending KL:
//   a int8 .001, b int8 .002, a int4 .01, c int8 .02, b int4 .5, (c int4 .9, never taken)
TEST_CASE("kl-sort is the shortest prefix of the paper's list that fits", "[planner]") {
  const auto three = [](int64_t fp16) {
    return std::vector<int64_t>{fp16, fp16 / 2, fp16 * 3 / 10};
  };
  const std::vector<std::vector<double>> kls = {{0, .001, .01}, {0, .002, .5}, {0, .02, .9}};
  std::vector<Unit> units;
  for (size_t i = 0; i < 3; ++i) {
    const auto bytes = three(2000);
    units.push_back(
        unit(std::string(1, static_cast<char>('a' + i)),
             {candidate("fp16", bytes[0], kls[i][0]), candidate("int8", bytes[1], kls[i][1]),
              candidate("int4g64", bytes[2], kls[i][2])}));
  }
  const Profile p = profile_of(units);  // 8000 weights: bpw = unit bytes / 1000
  struct Case {
    double bpw;
    const char* formats;
  };
  const Case cases[] = {
      {6.0, "fp16 fp16 fp16"},    {5.9, "int8 fp16 fp16"},       {5.0, "int8 fp16 fp16"},
      {4.9, "int8 int8 fp16"},    {4.0, "int8 int8 fp16"},       {3.9, "int4g64 int8 fp16"},
      {3.5, "int4g64 int8 int8"}, {2.5, "int4g64 int4g64 int8"}, {2.2, "int4g64 int4g64 int8"}};
  for (const Case& c : cases) {
    CAPTURE(c.bpw);
    CHECK(formats(p, plan(p, request("kl-sort", c.bpw))) == c.formats);
  }
  const std::string why = refusal(p, request("kl-sort", 2.1));
  CHECK_THAT(why, Catch::Contains("2300 bytes") && Catch::Contains("2.2 bpw"));
  // klens has no such entry that it may not take.
  CHECK(formats(p, plan(p, request("klens", 1.8))) == "int4g64 int4g64 int4g64");
  // A limit on the KL takes the longest prefix that keeps it.
  CHECK(formats(p, plan(p, kl_request("kl-sort", 0.0125))) == "int4g64 int8 fp16");
  CHECK(formats(p, plan(p, kl_request("kl-sort", 0))) == "fp16 fp16 fp16");
  CHECK(formats(p, plan(p, kl_request("kl-sort", 9))) == "int4g64 int4g64 int8");
}

TEST_CASE("kl-sort never makes a unit larger", "[planner]") {
  // By noise 4 bits come before 8 in unit a; the paper's "last entry wins" would let a grow again.
  const Profile p =
      profile_of({unit("a", {candidate("fp16", 2000, 0), candidate("int8", 1000, 0.003),
                             candidate("int4g64", 600, 0.001)}),
                  unit("b", {candidate("fp16", 2000, 0), candidate("int8", 1000, 0.004),
                             candidate("int4g64", 600, 0.9)})});
  CHECK(formats(p, plan(p, request("kl-sort", 2.7))) == "int4g64 fp16");
  CHECK(formats(p, plan(p, request("kl-sort", 2.5))) == "int4g64 int8");
}

TEST_CASE("sqnr-sort and mse-sort follow their metric", "[planner]") {
  Profile p = small_profile();
  const double mse[2][3] = {{0, 5, 7}, {0, 1, 6}};
  for (size_t u = 0; u < 2; ++u)
    for (size_t c = 0; c < 3; ++c) {
      p.units[u].candidates[c].others[kMse] = mse[u][c];
      p.units[u].candidates[c].others[kSqnrDb] = -mse[u][c];
      p.units[u].candidates[c].kl.reset();
    }
  for (const char* method : {"mse-sort", "sqnr-sort"}) {
    const Plan made = plan(p, request(method, 5));
    CHECK(formats(p, made) == "fp16 int8");
    CHECK_FALSE(made.predicted_kl);
    CHECK(formats(p, plan(p, request(method, 3.9))) == "int8 int8");
    CHECK(formats(p, plan(p, request(method, 2.9))) == "int8 int4g64");
  }
}

TEST_CASE("uniform is one format and needs no metric", "[planner]") {
  Profile p = small_profile();
  p.units[0].candidates[1].kl.reset();
  PlanRequest r = request("uniform");
  r.uniform_format = "int8";
  const Plan made = plan(p, r);
  CHECK(formats(p, made) == "int8 int8");
  CHECK(made.bytes == 3100);
  CHECK(made.budget.empty());
  CHECK_FALSE(made.predicted_kl);
  r.uniform_format = "int4g64";
  CHECK(*plan(p, r).predicted_kl == Approx(0.51));
  r.uniform_format = "int4g32";
  CHECK_THAT(refusal(p, r), Catch::Contains("unit a") && Catch::Contains("int4g32") &&
                                Catch::Contains("fp16, int8, int4g64"));
  r.uniform_format = "";
  CHECK_THAT(refusal(p, r), Catch::Contains("needs a format"));
  r.uniform_format = "int8";
  r.budget.bpw = 4;
  CHECK_THAT(refusal(p, r), Catch::Contains("takes no budget"));
}

TEST_CASE("a candidate whose student broke is not chosen", "[planner]") {
  Profile p = small_profile();
  p.units[0].candidates[2].kl = NAN;
  p.units[1].candidates[2].kl = INFINITY;
  CHECK(formats(p, plan(p, request("klens", 3.9))) == "int8 int8");
  CHECK(formats(p, plan(p, request("kl-sort", 5.1))) == "int8 fp16");
  CHECK_THAT(refusal(p, request("klens", 2.9)), Catch::Contains("3100 bytes"));
  PlanRequest r = request("klens", 9);
  r.pinned["a"] = {.format = "int4g64", .quantizer = "rtn"};
  CHECK_THAT(refusal(p, r), Catch::Contains("kl of unit a in int4g64"));
  r.method = "kl-sort";
  CHECK_FALSE(plan(p, r).predicted_kl);
  r.budget = {.max_kl = 1};
  CHECK_THAT(refusal(p, r), Catch::Contains("kl of unit a in int4g64"));
}

TEST_CASE("pinned units stay pinned", "[planner]") {
  const Profile p = small_profile();
  for (const char* method : {"klens", "kl-sort"}) {
    PlanRequest r = request(method, 4.7);
    r.pinned["a"] = {.format = "fp16", .quantizer = "rtn"};
    CAPTURE(method);
    CHECK(formats(p, plan(p, r)) == "fp16 int8");
  }
  PlanRequest r = request("uniform");
  r.uniform_format = "int4g64";
  r.pinned["b"] = {.format = "int8", .quantizer = "rtn"};
  CHECK(formats(p, plan(p, r)) == "int4g64 int8");
  r.pinned["b"].quantizer = "hqq";
  CHECK_THAT(refusal(p, r), Catch::Contains("unit b") && Catch::Contains("hqq"));
  r.pinned = {{"c", {.format = "int8", .quantizer = "rtn"}}};
  CHECK_THAT(refusal(p, r), Catch::Contains("no unit c"));
}

TEST_CASE("a refusal is one line that names the cure", "[planner]") {
  const Profile p = small_profile();
  Profile unmeasured = p, nameless = p;
  unmeasured.units[1].candidates[2].kl.reset();
  for (Unit& u : nameless.units) u.rows = 0;
  PlanRequest both = request("klens", 4);
  both.budget.max_kl = 1;
  PlanRequest pinned = size_request("klens", 2000);
  pinned.pinned["b"] = {.format = "fp16", .quantizer = "rtn"};
  struct Case {
    std::string text;
    std::vector<const char*> parts;
  };
  const Case cases[] = {
      {refusal(p, request("klens", 1.5)),
       {"1.5 bpw", "1900 bytes", "1.8 bpw", "1950 bytes", "int4g64 for 2 unit(s)", "allow more"}},
      {refusal(p, size_request("klens", 1949)), {"1949 bytes", "1950 bytes"}},
      {refusal(p, pinned), {"pin fewer", "4700 bytes"}},
      {refusal(unmeasured, request("klens", 4)), {"unit b", "int4g64", "kl", "profile again"}},
      {refusal(unmeasured, request("mse-sort", 4)), {"unit a", "int8", "mse"}},
      {refusal(p, request("best", 4)),
       {"best",
        "klens, kl-sort, kl-sort-gamma, sqnr-sort, mse-sort, greedy, kl-max, "
        "sensiboost, kurtboost, rule, uniform"}},
      {refusal(p, request("klens")), {"exactly one budget"}},
      {refusal(p, both), {"exactly one budget"}},
      {refusal(p, request("klens", NAN)), {"above 0"}},
      {refusal(p, request("klens", -1)), {"above 0"}},
      {refusal(p, size_request("klens", 0)), {"above 0"}},
      {refusal(p, kl_request("klens", -1)), {"0 or more"}},
      {refusal(nameless, request("klens", 4)), {"weights the units have"}},
      {refusal(Profile{}, request("klens", 4)), {"no units"}},
      {refusal(profile_of({unit("x", {})}), request("klens", 4)), {"unit x", "no candidates"}},
      {refusal(profile_of({unit("x", {candidate("fp16", 9, 2)})}), kl_request("klens", 1)),
       {"kl 1", "least KL", "is 2"}},
  };
  for (const Case& c : cases) {
    CAPTURE(c.text);
    CHECK(c.text.find('\n') == std::string::npos);
    for (const char* part : c.parts) CHECK_THAT(c.text, Catch::Contains(part));
  }
}

}  // namespace klens
