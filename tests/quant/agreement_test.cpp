#include "quant/agreement.h"

#include <catch2/catch.hpp>
#include <cmath>

namespace klens {
namespace {

Candidate agreement_candidate(const char* format, int64_t bytes, double kl, double sqnr) {
  Candidate c;
  c.choice.format = format;
  c.bytes = bytes;
  c.kl = kl;
  c.others[kSqnrDb] = sqnr;
  return c;
}

// Units with a smaller candidate that was not measured.
Profile ranked_profile(const std::vector<std::pair<double, double>>& kl_and_sqnr) {
  Profile profile;
  for (const auto& [kl, sqnr] : kl_and_sqnr) {
    Unit unit;
    unit.name = "u" + std::to_string(profile.units.size());
    Candidate guessed = agreement_candidate("int4g128", 10, 100 - kl, 0);
    guessed.predicted = true;
    unit.candidates = {agreement_candidate("fp16", 100, 0, 999),
                       agreement_candidate("int4g64", 20, kl, sqnr), guessed};
    unit.weights[kKurtosis] = 3;
    profile.units.push_back(unit);
  }
  return profile;
}

}  // namespace

TEST_CASE("units are ranked by the smallest candidate that was measured", "[agreement]") {
  const Profile profile = ranked_profile({{1, 30}});
  CHECK(ranked_candidate(profile.units[0]) == &profile.units[0].candidates[1]);
  Unit unit = profile.units[0];
  for (Candidate& c : unit.candidates) c.predicted = true;
  CHECK(ranked_candidate(unit) == nullptr);
  unit = profile.units[0];
  unit.candidates[1].kl.reset();  // other metrics will do
  CHECK(ranked_candidate(unit) == &unit.candidates[1]);
}

TEST_CASE("agreement turns signs, so that worse is more", "[agreement]") {
  const RankAgreement agreement = rank_agreement(ranked_profile({{1, 30}, {2, 20}, {3, 10}}));
  REQUIRE(agreement.metrics == std::vector<const Metric*>{&kKl, &kSqnrDb, &kKurtosis});
  CHECK(agreement.units == 3);
  CHECK(agreement.tau[0][0] == 1.0);
  CHECK(agreement.tau[0][1] == 1.0);
  CHECK(agreement.tau[1][0] == 1.0);
  CHECK_FALSE(agreement.tau[0][2]);  // the same for all
}

TEST_CASE("what a unit lacks, or what is not finite, is left out", "[agreement]") {
  Profile profile = ranked_profile({{1, 30}, {2, 20}, {3, 10}, {4, 40}});
  profile.units[3].candidates[1].others[kSqnrDb].reset();
  CHECK(rank_agreement(profile).tau[0][1] == 1.0);
  profile.units[3].candidates[1].kl = std::nan("");
  profile.units[3].candidates[1].others[kSqnrDb] = 1;
  const RankAgreement agreement = rank_agreement(profile);
  CHECK(agreement.units == 4);
  CHECK(agreement.tau[0][1] == 1.0);
}

}  // namespace klens
