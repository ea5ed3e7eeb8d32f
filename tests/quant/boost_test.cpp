// The planning methods of SensiBoost, KurtBoost, and of the KL lens paper's gamma.
#include <catch2/catch.hpp>

#include "tests/quant/planning.h"

namespace klens {

using namespace planning;

namespace {

// Of 40 layers with one module, whose score rises at the sixth and, by more but not as a ratio, at
// the tenth; and a head.
Profile layered(const std::vector<const char*>& formats, const Metric& metric) {
  Profile p;
  p.header_bytes = 50;
  for (int64_t layer = 0; layer < 40; ++layer) {
    Unit u = unit("model.layers." + std::to_string(layer) + ".mlp.up_proj", {});
    u.kind = "up_proj";
    u.block = layer;
    u.weights[metric] =
        1 + 0.01 * static_cast<double>(layer % 4) + (layer >= 5 ? 20 : 0) + (layer >= 9 ? 200 : 0);
    p.units.push_back(u);
  }
  p.units.push_back(unit("lm_head", {}));
  p.units.back().kind = "head";
  p.units.back().block = 40;
  for (Unit& u : p.units) {
    u.rows = 64;
    u.cols = 256;
    for (const char* name : formats) {
      const Format& format = *find_format(name);
      u.candidates.push_back(candidate(name,
                                       static_cast<int64_t>(packed_bytes(format, u.rows, u.cols)),
                                       std::exp2(-2 * bits_per_weight(format))));
    }
  }
  return p;
}

const std::vector<const char*> kStops = {"fp16",     "int8g32",  "int8",
                                         "int5ag32", "int4ag32", "int2ag16"};

int64_t bytes_in(const char* format) {
  return static_cast<int64_t>(packed_bytes(*find_format(format), 64, 256));
}

std::map<std::string, std::vector<std::string>> by_format(const Plan& plan) {
  std::map<std::string, std::vector<std::string>> units;
  for (const auto& [name, choice] : plan.units) units[choice.format].push_back(name);
  return units;
}

}  // namespace

TEST_CASE("units that stand out are boosted by three stops, or two, as far as the budget allows",
          "[planner][outliers]") {
  const auto method =
      GENERATE(std::pair("sensiboost", &kSensitivity), std::pair("kurtboost", &kKurtosis));
  // By ratios the earlier one stands out more, by differences the later.
  const bool ratio = method.second == &kSensitivity;
  const Profile p = layered(kStops, *method.second);
  const int64_t all = 41 * bytes_in("int2ag16");
  const std::string first = "model.layers.5.mlp.up_proj", second = "model.layers.9.mlp.up_proj";
  const std::string most = ratio ? first : second;
  const auto planned = [&](int64_t bytes) {
    return by_format(plan(p, size_request(method.first, bytes + 50)));
  };
  auto units = planned(all);
  CHECK(units["int2ag16"].size() == 41);
  // Two stops up is int5ag32, three is int8.
  const int64_t two = bytes_in("int5ag32") - bytes_in("int2ag16"),
                three = bytes_in("int8") - bytes_in("int2ag16");
  units = planned(all + two - 1);
  CHECK(units["int2ag16"].size() == 41);
  units = planned(all + two);
  CHECK(units["int5ag32"] == std::vector{most});
  CHECK(units["int2ag16"].size() == 40);
  REQUIRE(2 * two < three);
  const std::vector<std::string> both = {first, second};
  CHECK(planned(all + three - 1)["int5ag32"] == both);
  CHECK(planned(all + three)["int8"] == std::vector{most});
  CHECK(planned(all + 2 * three)["int8"] == both);
  // From the next stop on a boost ends at the top.
  units = planned(41 * bytes_in("int5ag32") + 3 * three);
  CHECK(units["int8g32"] == both);
  CHECK(units["int5ag32"].size() == 39);
  CHECK(planned(41 * bytes_in("fp16"))["int8g32"].size() == 41);
  CHECK_THAT(refusal(p, size_request(method.first, all + 49)), Catch::Contains("cannot be met"));
}

TEST_CASE("a KL is met by the lowest stop, with as few boosts as it takes", "[planner][outliers]") {
  const Profile p = layered(kStops, kSensitivity);
  const auto kl = [](const char* format) {
    return std::exp2(-2 * bits_per_weight(*find_format(format)));
  };
  const double all = 41 * kl("int2ag16");
  CHECK(by_format(plan(p, kl_request("sensiboost", all)))["int2ag16"].size() == 41);
  const auto units = by_format(plan(p, kl_request("sensiboost", 0.99 * all)));
  CHECK(units.at("int8").size() == 1);
  CHECK(units.at("int2ag16").size() == 40);
  CHECK_THAT(refusal(p, kl_request("sensiboost", 40 * kl("int8g32"))),
             Catch::Contains("cannot be met"));
}

TEST_CASE("a unit without a stop's format has the largest that is no larger",
          "[planner][outliers]") {
  Profile p = layered(kStops, kSensitivity);
  std::erase_if(p.units[3].candidates,
                [](const Candidate& c) { return c.choice.format == "int5ag32"; });
  const auto units = by_format(plan(p, size_request("sensiboost", 41 * bytes_in("int5ag32") + 50)));
  CHECK(units.at("int4ag32") == std::vector<std::string>{"model.layers.3.mlp.up_proj"});
  // As after a shortlist: other formats below each stop, and the smallest below all.
  p = layered({"fp16", "int8g32", "int5g32", "int4g32", "int4g128"}, kSensitivity);
  const auto formats_at = [&](const char* format) {
    return by_format(plan(p, size_request("sensiboost", 41 * bytes_in(format) + 50)));
  };
  CHECK(formats_at("int4g128").at("int4g128").size() == 41);
  CHECK(formats_at("int4g32").at("int4g32").size() == 41);
  CHECK(formats_at("int5ag32").at("int5g32").size() == 39);
  CHECK(formats_at("int5ag32").at("int8g32").size() == 2);
  CHECK(formats_at("fp16").at("int8g32").size() == 41);
}

TEST_CASE("what stands out must have been measured, and pins are kept", "[planner][outliers]") {
  Profile p = layered(kStops, kKurtosis);
  CHECK_THAT(
      refusal(p, request("sensiboost", 5)),
      Catch::Contains("sensiboost needs sensitivity of unit model.layers.0.mlp.up_proj, "
                      "which the profile lacks: profile again with it, or use method klens"));
  PlanRequest pinned = request("kurtboost", 9);
  pinned.pinned["model.layers.9.mlp.up_proj"] = {.format = "int2ag16", .quantizer = "rtn"};
  CHECK(plan(p, pinned).units.at("model.layers.9.mlp.up_proj").format == "int2ag16");
}

TEST_CASE("gamma undoes steps that leave 1.10 times the perplexity", "[planner]") {
  const double allowed = std::log(1.10);
  // In the list's order: a and b in 8 bits, a in 4, which leaves it, then b in 4.
  Profile p = profile_of({unit("a", {candidate("fp16", 2000, 0), candidate("int8", 1000, 0.001),
                                     candidate("int4g64", 600, 0.01)}),
                          unit("b", {candidate("fp16", 4000, 0), candidate("int8", 2000, 0.002),
                                     candidate("int4g64", 1200, 0.05)})});
  p.units[0].candidates[2].others[kDeltaCe] = 0.2;
  p.units[1].candidates[2].others[kDeltaCe] = 0.03;
  CHECK(formats(p, plan(p, request("kl-sort-gamma", 3))) == "int8 int8");
  CHECK(formats(p, plan(p, request("kl-sort-gamma", 2.2))) == "int8 int4g64");
  CHECK(formats(p, plan(p, request("kl-sort", 2.6))) == "int4g64 int8");
  // 0.2 is within the third power, and then comes before b in 4 bits.
  REQUIRE(0.2 + 0.03 > 2 * allowed);
  CHECK(formats(p, plan(p, request("kl-sort-gamma", 1.8))) == "int4g64 int4g64");
  CHECK_THAT(refusal(p, request("kl-sort-gamma", 1.7)), Catch::Contains("cannot be met"));
  // Without a cross entropy the KL stands for it.
  for (Candidate& c : p.units[0].candidates) c.others[kDeltaCe].reset();
  CHECK(formats(p, plan(p, request("kl-sort-gamma", 2.6))) == "int4g64 int8");
}

TEST_CASE("gamma with a limit on the KL keeps both", "[planner]") {
  Profile p = small_profile();
  CHECK(formats(p, plan(p, kl_request("kl-sort-gamma", 0.0125))) == "int4g64 int8");
  p.units[0].candidates[2].others[kDeltaCe] = 1.0;
  CHECK(formats(p, plan(p, kl_request("kl-sort-gamma", 0.0125))) == "int8 int8");
  CHECK(formats(p, plan(p, kl_request("kl-sort-gamma", 0.0005))) == "fp16 fp16");
  for (uint32_t seed = 0; seed < 5; ++seed) {
    const Profile real = realistic_profile(8, seed);
    for (const double kl : {0.001, 0.05, 1.0})
      CHECK(*plan(real, kl_request("kl-sort-gamma", kl)).predicted_kl <= kl);
    CHECK(plan(real, request("kl-sort-gamma", 5)).bpw <= 5);
  }
}

}  // namespace klens
