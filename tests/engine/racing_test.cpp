// When a profile has told enough for a plan.
#include "engine/jobs/racing.h"

#include <catch2/catch.hpp>

#include "tests/quant/planning.h"

namespace klens {
namespace {

using namespace klens::planning;

// Two units, of which a budget lets one have 8 bits: that which loses more in 4.
Profile told(double a, double b, int64_t windows) {
  Profile profile =
      profile_of({unit("a", {candidate("int8", 1000, 0), candidate("int4g64", 600, a)}),
                  unit("b", {candidate("int8", 1000, 0), candidate("int4g64", 600, b)}),
                  unit("c", {candidate("int8", 1000, 0), candidate("int4g64", 600, 9)})});
  profile.windows = windows;
  return profile;
}

PlanRequest request() {
  PlanRequest request;
  request.budget.file_bytes = 2600 + 150;
  return request;
}

}  // namespace

TEST_CASE("a unit is settled once halves choose for it what all windows do, twice", "[racing]") {
  const PlanRequest wanted = request();
  Racing racing(wanted);
  CHECK(racing.judge({.all = told(2, 1, 1), .halves = {told(2, 1, 1), told(2, 1, 1)}, .share = 0.1})
            .settled.empty());
  // c has 8 bits whatever the halves say; a and b are chosen by one half so, by the other not.
  const auto disagree = [&](int64_t windows) {
    return racing.judge({.all = told(2, 1, windows),
                         .halves = {told(2, 1, windows), told(1, 2, windows)},
                         .share = 0.1 * static_cast<double>(windows)});
  };
  Verdict verdict = disagree(2);
  CHECK_FALSE(verdict.ended);
  CHECK(verdict.settled == std::vector<bool>{false, false, false});
  verdict = disagree(3);
  CHECK_FALSE(verdict.ended);
  CHECK(verdict.settled == std::vector<bool>{false, false, true});
  const auto agree = [&](int64_t windows) {
    return racing.judge({.all = told(2, 1, windows),
                         .halves = {told(2, 1, windows), told(3, 1, windows)},
                         .share = 0.1 * static_cast<double>(windows)});
  };
  CHECK_FALSE(agree(4).ended);
  verdict = agree(5);
  CHECK(verdict.ended);
  CHECK(verdict.settled == std::vector<bool>{true, true, true});
  const Race race = racing.result(5, 10);
  CHECK(race.share == Approx(0.5));
  CHECK(race.regret == 0);
  CHECK(race.seconds_saved.has_value());
  CHECK_FALSE(racing.result(10, 10).seconds_saved);
}

TEST_CASE("halves that cost little over all windows end a profile without agreeing", "[racing]") {
  const PlanRequest wanted = request();
  Racing racing(wanted);
  const auto near = [&](int64_t windows) {
    return racing.judge({.all = told(1.02, 1, windows),
                         .halves = {told(1.02, 1, windows), told(1, 1.02, windows)},
                         .share = 0.1 * static_cast<double>(windows)});
  };
  CHECK_FALSE(near(2).ended);
  CHECK(near(3).ended);
  CHECK(racing.result(3, 10).regret == Approx(0.02));
}

}  // namespace klens
